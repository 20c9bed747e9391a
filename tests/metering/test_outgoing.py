from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from airserve.core.errors import AirserveError, ForbiddenError, InvalidInputError
from airserve.metering import outgoing
from airserve.metering.outgoing import MAX_REPLY_BYTES, UnreachableError, check_url, post
from tests.metering.other_server import other_server

INSIDE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "0.1.2.3",
    "169.254.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.0.2.1",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
    "[fec0::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]",
    "[2001:db8::1]",
]  # fmt: skip
# Other spellings of 127.0.0.1 and 169.254.169.254, which the resolver understands.
SPELLED = ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "2852039166", "0xa9fea9fe", "LOCALHOST", "0"]


@pytest.mark.parametrize("host", INSIDE)
def test_an_address_inside_is_refused_when_it_is_given_and_when_it_is_called(host: str) -> None:
    with pytest.raises(ForbiddenError):
        check_url(f"https://{host}/hook", allow_private=False)
    with pytest.raises(ForbiddenError):
        post(f"https://{host}/hook", b"", {}, allow_private=False)


@pytest.mark.parametrize("host", SPELLED)
def test_a_name_that_leads_inside_is_refused_when_it_is_called(host: str) -> None:
    with pytest.raises(ForbiddenError):
        post(f"https://{host}/", b"", {}, allow_private=False)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "0.0.0.0"])
def test_metadata_and_link_local_addresses_are_refused_even_where_private_ones_are_allowed(host: str) -> None:
    with pytest.raises(ForbiddenError, match="never called"):
        post(f"http://{host}/latest/meta-data/", b"", {}, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/",
        "https://", "https:///path", "https://user:pass@example.com/", "https://example.com/#part",
        "https://exa mple.com/",
        "https://example.com:0/", "https://example.com:99999/", "https://[::1", "https://exämple.com/", "javascript:1",
        "https://example.com/\r\nHost: other", "https://example.com/" + "a" * 2_000, "", "https://@example.com/",
    ],
)  # fmt: skip
def test_what_is_no_url_to_call_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        check_url(url, allow_private=False)


def test_a_name_with_one_address_inside_is_refused_whatever_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.216.34", "10.0.0.7")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(ForbiddenError, match=r"10\.0\.0\.7"):
        post("https://rebinding.example/", b"", {}, allow_private=False)


def test_the_address_that_was_checked_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with other_server() as server:
        port = int(server.url.rpartition(":")[2])
        asked: list[str] = []
        original = socket.getaddrinfo

        def found(host: str, *arguments: object, **named: object) -> object:
            asked.append(host)
            return original("127.0.0.1" if host == "hook.example" else host, *arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        assert post(f"http://hook.example:{port}/x?y=1", b"{}", {}, allow_private=True).status == 204
        assert asked.count("hook.example") == 1
    assert (server.requests[0].path, server.requests[0].headers["host"]) == ("/x?y=1", f"hook.example:{port}")


def test_redirects_are_answers_and_are_not_followed() -> None:
    with other_server(lambda _: (302, b"", {"location": "http://169.254.169.254/"})) as server:
        assert post(server.url, b"", {}, allow_private=True).status == 302
        assert len(server.requests) == 1


def test_a_reply_is_read_up_to_a_limit() -> None:
    with other_server(lambda _: (200, b"x" * (MAX_REPLY_BYTES + 100_000))) as server:
        assert len(post(server.url, b"", {}, allow_private=True).body) == MAX_REPLY_BYTES


@contextmanager
def dripping(first: bytes) -> Iterator[int]:
    """A server that sends `first` and then a byte now and then, for as long as anybody reads."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(first)
                    while not stop.wait(0.02):
                        connection.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.1 200 OK\r\nx-long: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"]
)
def test_a_server_that_drips_does_not_hold_the_caller(first: bytes) -> None:
    with dripping(first) as port, pytest.raises(UnreachableError, match=r"within 0\.2 s"):
        post(f"http://127.0.0.1:{port}/", b"", {}, allow_private=True, timeout_s=0.2)


def test_a_dripping_handshake_does_not_hold_the_caller_either() -> None:
    # The first bytes of a long TLS record, so that the client waits for the rest.
    with dripping(b"\x16\x03\x03\x40\x00") as port, pytest.raises(UnreachableError, match=r"within 0\.2 s"):
        post(f"https://127.0.0.1:{port}/", b"", {}, allow_private=True, timeout_s=0.2)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_server_is_told_of_the_same_way_when_the_socket_notices_first(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(seconds: float, act: Callable[[], None]) -> threading.Timer:
        return timer(seconds + 60, act)

    timer = threading.Timer
    monkeypatch.setattr(outgoing.threading, "Timer", late)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(UnreachableError, match=r"^127\.0\.0\.1: no answer within 0\.1 s$"),
    ):
        post(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/", b"", {}, allow_private=True, timeout_s=0.1)


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_an_error_with_a_sentence(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UnreachableError) as raised:
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"", {}, allow_private=True, timeout_s=5)
        thread.join()
    assert "127.0.0.1" in raised.value.message


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: object) -> None:
    import datetime as dt
    import ssl
    from pathlib import Path

    from airserve.server.tls import development_tls

    tls = development_tls(Path(str(tmp_path)), "127.0.0.1", dt.datetime.now(dt.UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert, tls.key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(65536)
                        secured.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                except OSError:
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://localhost:{server.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            post(url, b"", {}, allow_private=True, timeout_s=5)
        trusting = ssl.create_default_context(cafile=str(tls.ca))
        assert post(url, b"", {}, allow_private=True, timeout_s=5, tls=trusting).status == 204
        thread.join()


def test_every_failure_is_of_the_one_error_family() -> None:
    assert issubclass(UnreachableError, AirserveError)
    assert outgoing.TIMEOUT_S <= 10
