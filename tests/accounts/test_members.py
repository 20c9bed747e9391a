from __future__ import annotations

import pytest

from airserve.accounts import create_key, create_tenant, load_directory
from airserve.accounts.members import add_member, list_members, remove_member, set_role
from airserve.accounts.roles import Role
from airserve.core.errors import ConflictError, InvalidInputError, MissingKeyError, NotFoundError
from airserve.storage import Database
from tests.accounts.conftest import PEPPER


def test_at_least_one_owner_stays(acme: Database) -> None:
    add_member(acme, "acme", "Ada@Example.org", "owner", now_ns=2)
    with pytest.raises(ConflictError, match="last owner"):
        remove_member(acme, "acme", "ada@example.org", now_ns=3)
    with pytest.raises(ConflictError, match="last owner"):
        set_role(acme, "acme", "ada@example.org", "viewer", now_ns=3)
    add_member(acme, "acme", "bob@example.org", "viewer", now_ns=4)
    set_role(acme, "acme", "bob@example.org", "owner", now_ns=5)
    set_role(acme, "acme", "ada@example.org", "viewer", now_ns=6)
    assert {member.email: member.role for member in list_members(acme, "acme")} == {
        "ada@example.org": "viewer",
        "bob@example.org": "owner",
    }


def test_a_removed_members_key_stops_and_stays_stopped_when_they_come_back(acme_on_each: Database) -> None:
    add_member(acme_on_each, "acme", "ada@example.org", "owner", now_ns=2)
    add_member(acme_on_each, "acme", "bob@example.org", "developer", now_ns=2)
    key, _ = create_key(acme_on_each, PEPPER, now_ns=3, tenant="acme", member="bob@example.org")
    assert key.startswith("as_usr_")
    principal = load_directory(acme_on_each, PEPPER).authenticate(key, 4)
    assert (principal.role, principal.member) == (Role.DEVELOPER, "bob@example.org")
    set_role(acme_on_each, "acme", "bob@example.org", "billing", now_ns=5)
    assert load_directory(acme_on_each, PEPPER).authenticate(key, 6).role is Role.BILLING
    remove_member(acme_on_each, "acme", "bob@example.org", now_ns=7)
    with pytest.raises(MissingKeyError, match="revoked"):
        load_directory(acme_on_each, PEPPER).authenticate(key, 8)
    add_member(acme_on_each, "acme", "bob@example.org", "viewer", now_ns=9)
    with pytest.raises(MissingKeyError, match="revoked"):
        load_directory(acme_on_each, PEPPER).authenticate(key, 10)


def test_a_member_is_of_one_tenant(acme: Database) -> None:
    create_tenant(acme, "other", now_ns=1)
    add_member(acme, "acme", "ada@example.org", "owner", now_ns=2)
    with pytest.raises(NotFoundError):
        remove_member(acme, "other", "ada@example.org", now_ns=3)
    with pytest.raises(ConflictError, match="already"):
        add_member(acme, "acme", "ADA@example.org", "viewer", now_ns=3)
    add_member(acme, "other", "ada@example.org", "viewer", now_ns=3)


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@example.org", "a da@example.org", "ada@example.org\n", "ä@b.org"]
)
def test_what_is_no_address_is_refused(acme: Database, email: str) -> None:
    with pytest.raises(InvalidInputError, match="e-mail"):
        add_member(acme, "acme", email, "owner", now_ns=2)


def test_a_member_is_never_an_operator(acme: Database) -> None:
    with pytest.raises(InvalidInputError, match="role"):
        add_member(acme, "acme", "ada@example.org", "operator", now_ns=2)
