from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from airserve.accounts import create_key, create_tenant, list_keys, load_directory
from airserve.accounts.client_certificate import ClientCertificate
from airserve.accounts.members import add_member
from airserve.core.errors import ForbiddenError, MissingKeyError
from airserve.serving.gate import Gate
from airserve.storage import Database
from airserve.storage.database import FILE_NAME

PEPPER = b"p" * 32


@pytest.fixture
def database(tmp_path: Path, sqlite_file: Path) -> Any:
    (tmp_path / "state").mkdir()
    shutil.copyfile(sqlite_file, tmp_path / "state" / FILE_NAME)
    database = Database.open(tmp_path / "state")
    create_tenant(database, "acme", now_ns=1)
    yield database
    database.close()


def gate_and_key(database: Database, **scope: Any) -> tuple[Gate, str]:
    key, _ = create_key(database, PEPPER, now_ns=2, **{"tenant": "acme", **scope})
    return Gate(load_directory(database, PEPPER)), key


def test_a_key_opens_its_routes_and_no_other(database: Database) -> None:
    gate, key = gate_and_key(database, routes=["infer"])
    assert gate.tenant(key, "digits", "infer")
    for refused in (
        lambda: gate.tenant(key, "digits", "chat"),
        # Whoever asks without saying for what gets nothing.
        lambda: gate.tenant(key, "digits"),
        lambda: gate.reader(key, "digits"),
        lambda: gate.opened(key, ["digits"]),
    ):
        with pytest.raises(ForbiddenError, match="does not open"):
            refused()


def test_a_key_opens_its_models_and_no_other(database: Database) -> None:
    gate, key = gate_and_key(database, models=["digits"])
    assert gate.tenant(key, "digits@canary", "infer")
    assert gate.opened(key, ["digits", "faces"]) == ["digits"]
    for refused in (lambda: gate.tenant(key, "faces", "infer"), lambda: gate.reader(key, "faces")):
        with pytest.raises(ForbiddenError, match="faces"):
            refused()


def test_a_key_opens_from_its_addresses_and_no_other(database: Database) -> None:
    gate, key = gate_and_key(database, addresses=["10.0.0.0/8", "2001:db8::/32"])
    for client in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"):
        assert gate.tenant(key, "digits", "infer", client)
        gate.reader(key, "digits", client)
    for client in ("", "11.0.0.1", "2001:db9::1", "::ffff:11.0.0.1", "no address"):
        for refused in (
            lambda client=client: gate.tenant(key, "digits", "infer", client),
            lambda client=client: gate.reader(key, "digits", client),
            lambda client=client: gate.opened(key, ["digits"], client),
            lambda client=client: gate.known(key, client),
        ):
            with pytest.raises(ForbiddenError, match="may not be used from"):
                refused()


def test_a_key_that_is_bound_to_a_certificate_is_useless_alone(database: Database) -> None:
    gate, key = gate_and_key(database, cert_sha256="ab" * 32)
    assert gate.tenant(key, "digits", "infer", "10.0.0.1", ClientCertificate("ab" * 32, b""))
    for certificate in (None, ClientCertificate("cd" * 32, b""), ClientCertificate("ab" * 31, b"")):
        with pytest.raises(MissingKeyError, match="certificate"):
            gate.tenant(key, "digits", "infer", "10.0.0.1", certificate)


def test_an_operators_and_a_members_key_open_no_inference_route(database: Database) -> None:
    add_member(database, "acme", "ada@example.org", "owner", now_ns=2)
    for whose in ({"tenant": None}, {"member": "ada@example.org"}):
        gate, key = gate_and_key(database, **whose)
        with pytest.raises(ForbiddenError, match="no inference route"):
            gate.tenant(key, "digits", "infer", "10.0.0.1")
        gate.reader(key, "digits")
        assert gate.opened(key, ["digits"]) == ["digits"]


def test_only_an_operators_key_is_an_operators(database: Database) -> None:
    add_member(database, "acme", "ada@example.org", "owner", now_ns=2)
    gate, key = gate_and_key(database, tenant=None)
    assert gate.operator(key)
    for whose in ({}, {"member": "ada@example.org"}):
        gate, key = gate_and_key(database, **whose)
        with pytest.raises(ForbiddenError):
            gate.operator(key)


def test_every_use_is_noted_and_a_refused_one_is_not(database: Database) -> None:
    gate, key = gate_and_key(database, addresses=["10.0.0.0/8"])
    with pytest.raises(ForbiddenError):
        gate.tenant(key, "digits", "infer", "11.0.0.1")
    assert gate.last_used.flush(database) == 0
    gate.tenant(key, "digits", "infer", "10.0.0.1")
    assert gate.last_used.flush(database) == 1
    assert list_keys(database)[0].last_used_ns
