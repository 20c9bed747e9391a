from __future__ import annotations

from typing import Any

import pytest

from airserve.accounts import Principal, create_key, create_tenant, list_keys, load_directory, revoke_key
from airserve.accounts.key_format import keys_in
from airserve.accounts.key_inspection import inspect_key
from airserve.accounts.members import add_member
from airserve.accounts.projects import create_project
from airserve.core.errors import ForbiddenError, InvalidInputError, MissingKeyError, NotFoundError
from airserve.storage import Database
from tests.accounts.conftest import PEPPER


def member_of(database: Database, role: str, **scope: Any) -> Principal:
    """A new member of acme, by their key."""
    add_member(database, "acme", f"{role}@example.org", role, now_ns=2)
    key, _ = create_key(database, PEPPER, now_ns=3, tenant="acme", member=f"{role}@example.org", **scope)
    return load_directory(database, PEPPER).authenticate(key, 4)


def test_a_key_is_never_wider_than_the_one_that_made_it(acme: Database) -> None:
    owner = member_of(
        acme, "owner", models=["a", "b"], routes=["infer", "read"], addresses=["10.0.0.0/8"], expires_ns=1000
    )
    within: dict[str, Any] = {
        "models": ["a"], "routes": ["infer"], "addresses": ["10.1.0.0/16"], "expires_ns": 1000,
    }  # fmt: skip
    _, info = create_key(acme, PEPPER, now_ns=5, tenant="acme", creator=owner, **within)
    assert info.created_by == "member:owner@example.org"
    before = len(list_keys(acme))
    for wider in (
        {"models": None}, {"models": ["a", "c"]}, {"routes": None}, {"routes": ["chat"]}, {"addresses": None},
        {"addresses": ["11.0.0.0/8"]}, {"expires_ns": None}, {"expires_ns": 1001},
    ):  # fmt: skip
        with pytest.raises(ForbiddenError):
            create_key(acme, PEPPER, now_ns=5, tenant="acme", creator=owner, **{**within, **wider})
    assert len(list_keys(acme)) == before


@pytest.mark.parametrize(
    ("role", "service", "member"),
    [("owner", True, True), ("developer", True, False), ("billing", False, False), ("viewer", False, False)],
)
def test_who_may_make_keys_is_what_the_roles_say(acme: Database, role: str, service: bool, member: bool) -> None:
    creator = member_of(acme, role)
    add_member(acme, "acme", "other@example.org", "owner", now_ns=2)
    for allowed, whose in ((service, {}), (member, {"member": "other@example.org"})):
        if allowed:
            create_key(acme, PEPPER, now_ns=5, tenant="acme", creator=creator, **whose)
        else:
            with pytest.raises(ForbiddenError):
                create_key(acme, PEPPER, now_ns=5, tenant="acme", creator=creator, **whose)


def test_nobody_makes_keys_of_another_tenant_nor_of_the_operator(acme: Database) -> None:
    create_tenant(acme, "other", now_ns=1)
    owner = member_of(acme, "owner")
    with pytest.raises(NotFoundError):
        create_key(acme, PEPPER, now_ns=5, tenant="other", creator=owner)
    with pytest.raises(ForbiddenError):
        create_key(acme, PEPPER, now_ns=5, tenant=None, creator=owner)
    service, _ = create_key(acme, PEPPER, now_ns=5, tenant="acme")
    with pytest.raises(ForbiddenError):
        creator = load_directory(acme, PEPPER).authenticate(service, 6)
        create_key(acme, PEPPER, now_ns=6, tenant="acme", creator=creator)


def test_another_tenants_key_is_not_found(acme: Database) -> None:
    other = create_tenant(acme, "other", now_ns=1)
    key, info = create_key(acme, PEPPER, now_ns=5, tenant="acme")
    for name in (key, info.id):
        with pytest.raises(NotFoundError):
            revoke_key(acme, name, now_ns=6, tenant_id=other.id)
    assert load_directory(acme, PEPPER).authenticate(key, 7)


def test_a_key_that_is_not_valid_yet_opens_nothing_until_then(acme: Database) -> None:
    key, _ = create_key(acme, PEPPER, now_ns=5, tenant="acme", not_before_ns=100, expires_ns=200)
    directory = load_directory(acme, PEPPER)
    for now_ns, said in ((99, "not valid yet"), (200, "expired"), (99, "not valid yet")):
        with pytest.raises(MissingKeyError, match=said):
            directory.authenticate(key, now_ns)
        assert directory.authenticate(key, 100)
        assert directory.authenticate(key, 199)
    with pytest.raises(InvalidInputError, match="expired before"):
        create_key(acme, PEPPER, now_ns=5, tenant="acme", not_before_ns=100, expires_ns=100)


def test_scopes_come_back_as_they_were_given(acme_on_each: Database) -> None:
    create_project(acme_on_each, "acme", "line 4", now_ns=2)
    key, info = create_key(
        acme_on_each, PEPPER, now_ns=5, tenant="acme", project="line 4", models=["b", "a"], routes=["read", "infer"],
        addresses=["10.1.0.0/16", "2001:db8::/32"], cert_sha256="ab" * 32,
    )  # fmt: skip
    assert list_keys(acme_on_each, "acme") == [info]
    assert (info.models, info.routes) == (("a", "b"), ("infer", "read"))
    assert info.addresses == ("10.1.0.0/16", "2001:db8::/32")
    principal = load_directory(acme_on_each, PEPPER).authenticate(key, 6)
    assert principal.scope == info.scope
    assert principal.cert_sha256 == "ab" * 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"cert_sha256": "AB" * 32}, {"name": "x" * 101}, {"name": "a\nb"}, {"tenant": None, "models": ["a"]},
        {"tenant": None, "project": "default"}, {"project": "default", "member": "ada@example.org"},
    ],
)  # fmt: skip
def test_a_key_that_makes_no_sense_is_refused(acme: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        create_key(acme, PEPPER, now_ns=5, **{"tenant": "acme", **wrong})


def test_a_leaked_text_is_told_from_noise_and_ours_from_others(acme: Database) -> None:
    key, info = create_key(acme, PEPPER, now_ns=5, tenant="acme", name="line 4 cameras")
    elsewhere, _ = create_key(acme, b"q" * 32, now_ns=5, tenant="acme")
    text = f'KEY="{key}"; old={elsewhere}, no={key[:-1]}x as_live_{"0" * 61} {key}x again {key}'
    assert keys_in(text) == [key, elsewhere]
    found = inspect_key(acme, PEPPER, key, now_ns=6)
    assert (found.id, found.kind, found.state) == (info.id, "tenant", "active")
    assert found.info is not None
    assert (found.info.tenant, found.info.name) == ("acme", "line 4 cameras")
    # The id is known here, the whole text is not: a made-up key must not pass for ours.
    assert inspect_key(acme, PEPPER, elsewhere, now_ns=6).state == "unknown"
    revoke_key(acme, key, now_ns=7)
    assert inspect_key(acme, PEPPER, key, now_ns=8).state == "revoked"
