from __future__ import annotations

import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.accounts import (
    Directory,
    create_key,
    create_tenant,
    list_keys,
    load_directory,
    load_or_create_pepper,
    revoke_key,
    set_tenant_status,
)
from airserve.accounts.key_format import ALPHABET, KeyKind, is_well_formed, key_id, new_key
from airserve.core.errors import ConflictError, ForbiddenError, InvalidInputError, MissingKeyError, NotFoundError
from airserve.storage import Database

PEPPER = b"p" * 32


@pytest.fixture
def database(database: Database) -> Database:
    create_tenant(database, "acme", now_ns=1)
    return database


@settings(max_examples=200)
@given(st.sampled_from(list(KeyKind)), st.binary(min_size=48, max_size=48), st.integers(0, 80), st.characters())
def test_any_one_character_changed_is_no_key(kind: KeyKind, random: bytes, place: int, letter: str) -> None:
    key = new_key(kind, lambda _: random)
    assert is_well_formed(key)
    assert len(key_id(key)) == 12
    place %= len(key)
    changed = key[:place] + letter + key[place + 1 :]
    assert changed == key or not is_well_formed(changed)
    assert not is_well_formed(key[:-1])
    assert not is_well_formed(key + ALPHABET[0])


def test_a_key_opens_what_it_was_made_for(database: Database) -> None:
    key, info = create_key(database, PEPPER, now_ns=5, tenant="acme", models=["b", "a"])
    principal = load_directory(database, PEPPER).authenticate(key, 6)
    assert principal.models == {"a", "b"}
    assert principal.key_id == info.id
    operator, _ = create_key(database, PEPPER, now_ns=5, tenant=None)
    assert load_directory(database, PEPPER).authenticate(operator, 6).tenant_id is None


def test_each_reason_for_a_refusal_has_its_sentence(database: Database) -> None:
    key, info = create_key(database, PEPPER, now_ns=5, tenant="acme", expires_ns=100)
    unknown = new_key(KeyKind.TENANT, secrets.token_bytes)

    def sentence(directory: Directory, presented: str, now_ns: int = 6) -> str:
        with pytest.raises((MissingKeyError, ForbiddenError)) as refusal:
            directory.authenticate(presented, now_ns)
        return refusal.value.message

    directory = load_directory(database, PEPPER)
    assert "no API key" in sentence(directory, "")
    assert "mistyped" in sentence(directory, key[:-1])
    assert "not known" in sentence(directory, unknown)
    assert directory.authenticate(key, 99)
    assert "expired" in sentence(directory, key, 100)
    assert "not known" in sentence(load_directory(database, b"q" * 32), key)
    set_tenant_status(database, "acme", "suspended")
    assert "suspended" in sentence(load_directory(database, PEPPER), key)
    set_tenant_status(database, "acme", "active")
    revoke_key(database, info.id, now_ns=7)
    assert "revoked" in sentence(load_directory(database, PEPPER), key)


def test_no_key_is_ever_in_the_database(database: Database, tmp_path: Path) -> None:
    keys = [create_key(database, PEPPER, now_ns=5, tenant="acme")[0] for _ in range(20)]
    content = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file())
    for key in keys:
        assert key.encode() not in content
        assert key[20:60].encode() not in content
    assert {key_id(key) for key in keys} == {info.id for info in list_keys(database, "acme")}


def test_what_makes_no_sense_is_refused(database: Database) -> None:
    with pytest.raises(ConflictError):
        create_tenant(database, "acme", now_ns=2)
    with pytest.raises(InvalidInputError):
        create_tenant(database, "\n", now_ns=2)
    with pytest.raises(NotFoundError):
        create_key(database, PEPPER, now_ns=5, tenant="nobody")
    with pytest.raises(InvalidInputError):
        create_key(database, PEPPER, now_ns=5, tenant="acme", expires_ns=5)
    with pytest.raises(NotFoundError):
        revoke_key(database, "nothing", now_ns=1)
    set_tenant_status(database, "acme", "closed")
    with pytest.raises(ConflictError):
        set_tenant_status(database, "acme", "active")
    with pytest.raises(ConflictError):
        create_key(database, PEPPER, now_ns=5, tenant="acme")


def test_the_pepper_is_made_once_however_many_start_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        peppers = set(pool.map(lambda _: load_or_create_pepper(tmp_path), range(32)))
    assert len(peppers) == 1
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o400
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]
