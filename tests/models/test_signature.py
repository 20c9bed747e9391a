from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from airserve.core.errors import BadPackageError, ConflictError, InvalidInputError, UnsignedModelError
from airserve.models.catalog import Catalog
from airserve.models.package import SIGNATURE_NAME, Package, open_package, write_package
from airserve.models.policy import StorePolicy
from airserve.models.signature import (
    TrustedKeys,
    check_signature,
    new_key_pair,
    package_signature,
    read_private_key,
    signed_parts,
)
from airserve.storage import Database, tables
from tests.models.test_package import MANIFEST, seal
from tests.models_for_tests import save_linear


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key_pair(tmp_path / "a.key")
    return tmp_path / "a.key"


@pytest.fixture
def package(tmp_path: Path, key: Path) -> Path:
    folder = write_package(tmp_path / "p", MANIFEST, {"model.onnx": b"bytes", "labels.txt": b"a\nb\n"})
    sign(folder, key)
    return folder


def sign(folder: Path, key: Path) -> None:
    signature = package_signature(open_package(folder), read_private_key(key))
    assert signature is not None
    (folder / SIGNATURE_NAME).write_bytes(signature)


def trusted(key: Path) -> TrustedKeys:
    return TrustedKeys.read([key.with_name(key.name + ".pub")])


def check(folder: Path, keys: TrustedKeys) -> str:
    package: Package = open_package(folder)
    return check_signature(package_signature(package, None), *signed_parts(package), keys)


def test_who_signed_a_package_is_known_and_its_address_is_as_before(package: Path, key: Path, tmp_path: Path) -> None:
    assert check(package, trusted(key)) in trusted(key).keys
    plain = write_package(tmp_path / "q", MANIFEST, {"model.onnx": b"bytes", "labels.txt": b"a\nb\n"})
    assert open_package(package).address == open_package(plain).address


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / "model.onnx").write_bytes(b"other"),
        lambda p: (p / "labels.txt").write_bytes(b"b\na\n"),
        lambda p: (p / "extra").write_bytes(b""),
        lambda p: (p / "airserve.toml").write_text((p / "airserve.toml").read_text() + 'licence = "mine"\n'),
    ],
)
def test_a_change_of_any_file_is_seen_even_with_right_checksums(
    package: Path, key: Path, change: Callable[[Path], object]
) -> None:
    text = (package / "airserve.toml").read_text()
    change(package)
    if "licence" in (package / "airserve.toml").read_text():
        # A key of TOML belongs before the tables.
        (package / "airserve.toml").write_text('licence = "mine"\n' + text)
    seal_but_signature(package)
    with pytest.raises(BadPackageError, match="of another package"):
        check(package, trusted(key))


def seal_but_signature(folder: Path) -> None:
    signature = (folder / SIGNATURE_NAME).read_bytes()
    (folder / SIGNATURE_NAME).unlink()
    seal(folder)
    (folder / SIGNATURE_NAME).write_bytes(signature)


def test_no_byte_of_payload_or_signature_can_be_changed(package: Path, key: Path) -> None:
    file = package / SIGNATURE_NAME
    whole = json.loads(file.read_bytes())
    for field in ("payload", "sig"):
        holder = whole if field == "payload" else whole["signatures"][0]
        content = base64.b64decode(holder[field])
        for place in range(0, len(content), max(1, len(content) // 40)):
            changed = bytearray(content)
            changed[place] ^= 1
            holder[field] = base64.b64encode(changed).decode()
            file.write_text(json.dumps(whole))
            with pytest.raises(BadPackageError):
                check(package, trusted(key))
        holder[field] = base64.b64encode(content).decode()
    file.write_text(json.dumps(whole))
    check(package, trusted(key))


def test_without_a_trusted_signature_a_package_is_refused(package: Path, key: Path, tmp_path: Path) -> None:
    new_key_pair(tmp_path / "b.key")
    other = trusted(tmp_path / "b.key")
    with pytest.raises(UnsignedModelError, match="no trusted key") as refusal:
        check(package, other)
    assert refusal.value.http_status == 403
    # A key that merely calls itself by the trusted one's id.
    whole = json.loads((package / SIGNATURE_NAME).read_bytes())
    whole["signatures"][0]["keyid"] = next(iter(other.keys))
    (package / SIGNATURE_NAME).write_text(json.dumps(whole))
    with pytest.raises(BadPackageError, match="is wrong"):
        check(package, other)
    (package / SIGNATURE_NAME).unlink()
    with pytest.raises(UnsignedModelError, match="not signed"):
        check(package, trusted(key))


def test_a_second_signature_stays_beside_the_first(package: Path, key: Path, tmp_path: Path) -> None:
    new_key_pair(tmp_path / "b.key")
    sign(package, tmp_path / "b.key")
    assert check(package, trusted(key)) != check(package, trusted(tmp_path / "b.key"))
    sign(package, tmp_path / "b.key")
    assert len(json.loads((package / SIGNATURE_NAME).read_bytes())["signatures"]) == 2


def test_keys_are_private_never_overwritten_and_those_of_openssl_do(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(ConflictError, match="never overwritten"):
        new_key_pair(key)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "o.key"], check=True)
    read_private_key(tmp_path / "o.key")
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", tmp_path / "x.key"], check=True)
    with pytest.raises(InvalidInputError, match="Ed25519"):
        read_private_key(tmp_path / "x.key")
    monkeypatch.setenv("AIRSERVE_SIGNING_PASSPHRASE", "correct horse")
    new_key_pair(tmp_path / "p.key")
    read_private_key(tmp_path / "p.key")
    monkeypatch.delenv("AIRSERVE_SIGNING_PASSPHRASE")
    with pytest.raises(InvalidInputError, match="AIRSERVE_SIGNING_PASSPHRASE"):
        read_private_key(tmp_path / "p.key")
    with pytest.raises(InvalidInputError, match="no public key"):
        TrustedKeys.read([key])


def test_a_store_that_wants_signatures_publishes_and_loads_nothing_else(
    package: Path, key: Path, tmp_path: Path
) -> None:
    database = Database.open(tmp_path / "state")
    anyone = Catalog(database, tmp_path / "store")
    strict = Catalog(database, tmp_path / "store", StorePolicy(trusted=trusted(key), require_signed=True))
    graph = save_linear(tmp_path / "m.onnx")
    with pytest.raises(UnsignedModelError):
        strict.publish(graph)
    assert not strict.list()
    # What was published before the policy is not loaded under it.
    anyone.publish(graph)
    (spec,) = strict.deployments()
    with pytest.raises(UnsignedModelError):
        _ = spec.source
    assert anyone.deployments()[0].source.contents.read("model.onnx")
    strict.publish(graph, sign_with=read_private_key(key))
    (spec,) = strict.deployments()
    assert spec.version == 1 and spec.source.contents.read("model.onnx") == graph.read_bytes()
    # A signature taken away, or of something else, in the store itself.
    file = spec.folder / SIGNATURE_NAME
    file.write_bytes((package / SIGNATURE_NAME).read_bytes())
    with pytest.raises(BadPackageError, match="of another package"):
        _ = spec.source
    file.unlink()
    with pytest.raises(UnsignedModelError):
        _ = spec.source
    database.close()


def test_what_the_database_says_must_be_what_was_signed(key: Path, tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state")
    strict = Catalog(database, tmp_path / "store", StorePolicy(trusted=trusted(key), require_signed=True))
    strict.publish(save_linear(tmp_path / "m.onnx"), sign_with=read_private_key(key))
    with database.write() as connection:
        manifest = sa.func.replace(tables.versions.c.manifest, '"max_batch":64', '"max_batch":63')
        connection.execute(tables.versions.update().values(manifest=manifest))
    (spec,) = strict.deployments()
    assert spec.manifest.max_batch == 63
    with pytest.raises(BadPackageError, match="otherwise"):
        _ = spec.source
    database.close()
