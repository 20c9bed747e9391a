"""Mutual TLS with an authority of a tenant's own, and a certificate of the server that is renewed under way."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airserve import Client
from airserve.core.errors import MissingKeyError, UnreachableError
from tests import waiting
from tests.conftest import Service, airserve, start_service

pytestmark = pytest.mark.server
until = partial(waiting.until, seconds=10)
X = {"x": np.zeros((1, 64), np.float32)}
Certificate = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(
    name: str, issuer: Certificate | None = None, *, authority: bool = False, hours: tuple[int, int] = (-1, 24)
) -> Certificate:
    """One that is good from and until `hours` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer[1] if issuer else key
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(
            issuer[0].subject if issuer else subject, subject, key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(now + dt.timedelta(hours=hours[0]))
        .not_valid_after(now + dt.timedelta(hours=hours[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return made, key


def pem(made: Certificate) -> tuple[bytes, bytes]:
    private = made[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made[0].public_bytes(serialization.Encoding.PEM), private


def renew(folder: Path, made: Certificate) -> None:
    """As `certbot` and its like do it: each file is replaced whole, one after the other."""
    for name, content in zip(("server.pem", "server.key"), pem(made), strict=True):
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").replace(folder / name)


@pytest.fixture(scope="module")
def authority() -> Certificate:
    return certificate("devices of acme", authority=True)


@pytest.fixture(scope="module")
def own() -> Certificate:
    return certificate("the server's authority", authority=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, authority: Certificate, own: Certificate) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("mutual")
    renew(folder, certificate("localhost", own))
    (folder / "ca.pem").write_bytes(pem(own)[0])
    running = start_service(
        folder / "state", "--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")
    )
    yield running
    assert running.stop() == 0


def client(service: Service, key: str, made: Certificate | None, http: str = "1.1") -> Client:
    url = f"https://localhost:{service.ready['url'].rpartition(':')[2]}"
    return Client(
        url,
        key,
        ca=service.state_dir.parent / "ca.pem",
        certificate=None if made is None else pem(made),
        http=http,  # type: ignore[arg-type]
        retries=0,
    )


def answered(service: Service, key: str, made: Certificate | None, http: str = "1.1") -> Any:
    with client(service, key, made, http) as calls:
        return calls.infer("digits", X)


def refused(service: Service, key: str, made: Certificate | None, error: type[Exception], http: str = "1.1") -> bool:
    try:
        answered(service, key, made, http)
    except error:
        return True
    return False


def test_the_keys_of_a_tenant_with_an_authority_need_its_certificates(
    service: Service, authority: Certificate, tmp_path: Path
) -> None:
    service.run("tenants", "create", "acme")
    key = service.run("keys", "create", "acme")["key"]
    until(lambda: not refused(service, key, None, MissingKeyError))
    (tmp_path / "ca.pem").write_bytes(pem(authority)[0])
    added = service.run("authorities", "add", "acme", str(tmp_path / "ca.pem"))
    until(lambda: refused(service, key, None, MissingKeyError))
    phone = certificate("phone 1", authority)
    until(lambda: not refused(service, key, phone, UnreachableError))
    for http in ("1.1", "2"):
        assert answered(service, key, phone, http)["probabilities"].shape == (1, 10)
        with pytest.raises(MissingKeyError, match="needs a client certificate, and none came"):
            answered(service, key, None, http)
    # Nobody asks for a certificate over QUIC, so a key that needs one is of no use there.
    with pytest.raises(MissingKeyError, match="none came"):
        answered(service, key, phone, "3")
    # The demo tenant has no authority of its own: its keys work with and without a certificate.
    assert answered(service, service.key, phone)["probabilities"].shape == (1, 10)
    # Another tenant's certificates are trusted by the front, and of no use for this tenant's keys.
    other = certificate("devices of globex", authority=True)
    (tmp_path / "other.pem").write_bytes(pem(other)[0])
    service.run("tenants", "create", "globex")
    service.run("authorities", "add", "globex", str(tmp_path / "other.pem"))
    drone = certificate("drone 7", other)
    # Any key tells when the front trusts it: the demo tenant's works with whatever certificate it knows.
    until(lambda: not refused(service, service.key, drone, UnreachableError))
    until(lambda: refused(service, key, drone, MissingKeyError))
    for http in ("1.1", "2"):
        with pytest.raises(MissingKeyError, match="its tenant's own authority"):
            answered(service, key, drone, http)
    # One of no authority does not come past the handshake.
    for http in ("1.1", "2"):
        with pytest.raises(UnreachableError):
            answered(service, key, certificate("nobody's", certificate("nobody", authority=True)), http)
    service.run("authorities", "remove", "acme", added["id"][:12])
    until(lambda: not refused(service, key, None, MissingKeyError))


def test_a_key_may_be_bound_to_one_certificate(service: Service, authority: Certificate, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(pem(certificate("watches", authority=True))[0])
    devices = certificate("devices of initech", authority=True)
    (tmp_path / "ca.pem").write_bytes(pem(devices)[0])
    service.run("tenants", "create", "initech")
    service.run("authorities", "add", "initech", str(tmp_path / "ca.pem"))
    mine, other = certificate("mine", devices), certificate("other", devices)
    fingerprint = mine[0].fingerprint(hashes.SHA256()).hex()
    key = service.run("keys", "create", "initech", "--certificate", fingerprint)["key"]
    until(lambda: not refused(service, key, mine, (UnreachableError, MissingKeyError)))  # type: ignore[arg-type]
    with pytest.raises(MissingKeyError, match="bound to another client certificate"):
        answered(service, key, other)


@pytest.mark.parametrize("http", ["1.1", "2"])
def test_a_certificate_of_another_time_does_not_come_past_the_handshake(
    service: Service, tmp_path: Path, http: str
) -> None:
    devices, name = certificate(f"clocks of {http}", authority=True), f"clocks-{http.replace('.', '-')}"
    (tmp_path / "ca.pem").write_bytes(pem(devices)[0])
    service.run("tenants", "create", name)
    service.run("authorities", "add", name, str(tmp_path / "ca.pem"))
    key = service.run("keys", "create", name)["key"]
    until(lambda: not refused(service, key, certificate("now", devices), (UnreachableError, MissingKeyError), http))  # type: ignore[arg-type]
    for hours in ((-48, -1), (1, 48)):
        with pytest.raises(UnreachableError):
            answered(service, key, certificate("then", devices, hours=hours), http)


def test_a_handshake_that_is_none_ends_and_others_go_on(service: Service, authority: Certificate) -> None:
    port = int(service.ready["url"].rpartition(":")[2])
    begun = b"\x16\x03\x01\x40\x00\x01"
    with contextlib.ExitStack() as half_open:
        for _ in range(50):
            connection = half_open.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(begun)
        for sent in (
            b"\x16\x03\x01\x00\x05hello",
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"\x16\x03\x01\xff\xff" + b"\xff" * 65535,
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as broken:
                broken.sendall(sent)
                said = b""
                with contextlib.suppress(ConnectionError):
                    said = broken.recv(65536)
                # Nothing, an alert of TLS, or, to what does not begin as TLS does, a sentence in plaintext.
                assert said[:1] in (b"", b"\x15") or b"this is not HTTP/1.1" in said, said
        assert answered(service, service.key, None)["probabilities"].shape == (1, 10)


def test_plaintext_is_for_this_machine_alone(service: Service, own: Certificate, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: this only asks which address of ours leads outside.
        probe.connect(("198.51.100.1", 9))
        outside = probe.getsockname()[0]
    renew(tmp_path, certificate("localhost", own))
    everywhere = start_service(
        tmp_path / "state", "--host", "0.0.0.0", "--tls-cert", str(tmp_path / "server.pem"),
        "--tls-key", str(tmp_path / "server.key"),
    )  # fmt: skip
    port = int(everywhere.ready["url"].rpartition(":")[2])
    asked = f"GET /v2/health/live HTTP/1.1\r\nhost: {outside}\r\n\r\n".encode()
    try:
        for address, answers in (("127.0.0.1", True), (outside, False)):
            with socket.create_connection((address, port), timeout=20) as plain:
                plain.sendall(asked)
                said = b""
                with contextlib.suppress(ConnectionError):
                    said = plain.recv(65536)
                assert said.startswith(b"HTTP/1.1 200") is answers, said
    finally:
        assert everywhere.stop() == 0


def _sentence(service: Service, key: str) -> str:
    with pytest.raises(MissingKeyError) as error:
        answered(service, key, None)
    return error.value.message


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_who_says_what_certificate_it_has_is_not_believed(service: Service, version: str) -> None:
    mine = certificate("mine, they say")
    key = service.run("keys", "create", "demo", "--certificate", mine[0].fingerprint(hashes.SHA256()).hex())["key"]
    # A key that the service does not know yet is refused by the same error.
    until(lambda: "none came" in _sentence(service, key))
    told = f'Cert="{urllib.parse.quote(pem(mine)[0].decode())}"'
    trusting = ssl.create_default_context(cafile=str(service.state_dir.parent / "ca.pem"))
    with httpx.Client(verify=trusting, http1=version == "1.1", http2=version == "2") as caller:
        for url in (service.ready["http_url"], service.ready["url"].replace("127.0.0.1", "localhost")):
            headers = {"authorization": f"Bearer {key}", "x-forwarded-client-cert": told}
            answer = caller.get(f"{url}/v2/models/digits", headers=headers)
            assert (answer.status_code, "none came" in answer.text) == (401, True), answer.text


def test_older_tls_is_refused(service: Service) -> None:
    trusting = ssl.create_default_context(cafile=str(service.state_dir.parent / "ca.pem"))
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    url = service.ready["url"].replace("127.0.0.1", "localhost")
    with pytest.raises(urllib.error.URLError, match=r"protocol version|PROTOCOL_VERSION"):
        urllib.request.urlopen(f"{url}/v2/health/live", context=trusting)


def test_a_renewed_certificate_holds_for_new_connections_and_no_open_one_is_dropped(
    service: Service, own: Certificate
) -> None:
    folder = service.state_dir.parent

    def serial() -> int:
        port = int(service.ready["url"].rpartition(":")[2])
        return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number

    renewed = certificate("localhost", own)
    stop, failures, calls = threading.Event(), [], [0]

    def keep_calling(http: str) -> None:
        with client(service, service.key, None, http) as open_connection:
            while not stop.is_set():
                try:
                    open_connection.infer("digits", X)
                    calls[0] += 1
                except Exception as error:
                    failures.append(error)

    callers = [threading.Thread(target=keep_calling, args=(http,)) for http in ("1.1", "2")]
    for caller in callers:
        caller.start()
    renew(folder, renewed)
    until(lambda: serial() == renewed[0].serial_number)
    before = calls[0]
    until(lambda: calls[0] > before + 20)
    stop.set()
    for caller in callers:
        caller.join()
    assert not failures
    # A key that does not fit, as amid a renewal, is waited out.
    (folder / "server.key").write_bytes(pem(certificate("localhost", own))[1])
    time.sleep(1.2)
    assert serial() == renewed[0].serial_number
    assert answered(service, service.key, None)["probabilities"].shape == (1, 10)
    (folder / "server.key").write_bytes(pem(renewed)[1])


def test_what_is_no_authority_is_refused(service: Service, tmp_path: Path) -> None:
    from subprocess import run

    from tests.conftest import AIRSERVE

    for content, why in (
        (pem(certificate("leaf"))[0], "no authority"),
        (b"nothing", "one certificate in PEM"),
        (pem(certificate("a", authority=True))[0] * 2, "one certificate in PEM"),
    ):
        (tmp_path / "bad.pem").write_bytes(content)
        done = run(
            [AIRSERVE, "authorities", "add", "demo", str(tmp_path / "bad.pem"), "--state-dir", str(service.state_dir)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3
        assert why in " ".join(done.stderr.split())
    assert airserve("authorities", "list", "--tenant", "demo", "--state-dir", str(service.state_dir), "--json") == []
