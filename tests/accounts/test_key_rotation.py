from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.accounts import create_key, load_directory, revoke_key
from airserve.accounts.budgets import set_budget
from airserve.accounts.key_rotation import MAX_OVERLAP_NS, rotate_key
from airserve.accounts.keys import find_key
from airserve.accounts.members import add_member
from airserve.accounts.terms import Budget
from airserve.core.errors import AirserveError, ConflictError, ForbiddenError, InvalidInputError, MissingKeyError
from airserve.storage import Database
from tests.accounts.conftest import PEPPER


def opens(database: Database, key: str, now_ns: int) -> bool:
    try:
        load_directory(database, PEPPER).authenticate(key, now_ns)
    except MissingKeyError:
        return False
    return True


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    now_ns=st.integers(10, 100),
    overlap_ns=st.integers(0, MAX_OVERLAP_NS),
    expires_in_ns=st.none() | st.integers(1, 2 * MAX_OVERLAP_NS),
    later_ns=st.integers(0, 2 * MAX_OVERLAP_NS),
)
def test_both_keys_are_good_in_the_overlap_and_the_new_one_to_the_old_end(
    acme: Database, now_ns: int, overlap_ns: int, expires_in_ns: int | None, later_ns: int
) -> None:
    expires_ns = None if expires_in_ns is None else now_ns + expires_in_ns
    old, info = create_key(acme, PEPPER, now_ns=5, tenant="acme", models=["a"], expires_ns=expires_ns)
    new, after = rotate_key(acme, PEPPER, old, now_ns=now_ns, overlap_ns=overlap_ns)
    at_ns = now_ns + later_ns
    alive = expires_ns is None or at_ns < expires_ns
    assert opens(acme, old, at_ns) == (alive and later_ns < overlap_ns)
    assert opens(acme, new, at_ns) == alive
    assert (after.scope, after.expires_ns, after.counted_as) == (info.scope, expires_ns, info.id)


def test_usage_and_budgets_go_on_under_the_first_key(acme_on_each: Database) -> None:
    keys = [create_key(acme_on_each, PEPPER, now_ns=5, tenant="acme")[0]]
    set_budget(acme_on_each, "acme", Budget(7), now_ns=6, key=keys[0])
    for _ in range(2):
        keys.append(rotate_key(acme_on_each, PEPPER, keys[-1], now_ns=7)[0])
    # A budget that is set over a later key of the chain is over the same.
    set_budget(acme_on_each, "acme", Budget(9), now_ns=8, key=keys[-1])
    directory = load_directory(acme_on_each, PEPPER)
    principals = [directory.authenticate(key, 9) for key in keys]
    assert len({each.key_id for each in principals}) == 1
    assert len({each.credential_id for each in principals}) == 3
    assert len({id(each.account) for each in principals}) == 1
    (over,) = principals[0].account.budgets
    assert (over.scope, over.scope_id, over.budget.limit_nano) == ("key", principals[0].key_id, 9)


def test_a_key_is_replaced_once_and_not_when_it_is_dead(acme: Database) -> None:
    old, _ = create_key(acme, PEPPER, now_ns=5, tenant="acme", expires_ns=100)
    new, _ = rotate_key(acme, PEPPER, old, now_ns=6, overlap_ns=0)
    with pytest.raises(MissingKeyError, match="replaced by"):
        load_directory(acme, PEPPER).authenticate(old, 6)
    with pytest.raises(ConflictError, match="replaced"):
        rotate_key(acme, PEPPER, old, now_ns=7)
    with pytest.raises(ConflictError, match="expired"):
        rotate_key(acme, PEPPER, new, now_ns=100)
    with pytest.raises(InvalidInputError, match="24 hours"):
        rotate_key(acme, PEPPER, new, now_ns=7, overlap_ns=MAX_OVERLAP_NS + 1)
    revoke_key(acme, new, now_ns=8)
    with pytest.raises(ConflictError, match="revoked"):
        rotate_key(acme, PEPPER, new, now_ns=9)


def test_who_may_not_make_a_key_does_not_get_one_by_replacing(acme: Database) -> None:
    wide, _ = create_key(acme, PEPPER, now_ns=5, tenant="acme")
    for role in ("developer", "viewer"):
        add_member(acme, "acme", f"{role}@example.org", role, now_ns=5)
        own, _ = create_key(acme, PEPPER, now_ns=5, tenant="acme", member=f"{role}@example.org", models=["a"])
        creator = load_directory(acme, PEPPER).authenticate(own, 6)
        with pytest.raises(ForbiddenError):
            rotate_key(acme, PEPPER, wide, now_ns=7, creator=creator)
        # Its own key anybody may replace.
        rotate_key(acme, PEPPER, own, now_ns=7, creator=creator)
    with acme.read() as connection:
        assert find_key(connection, wide).replaced_by is None


def test_a_refused_rotation_leaves_the_old_key_as_it_was(acme: Database) -> None:
    old, before = create_key(acme, PEPPER, now_ns=5, tenant="acme")
    with pytest.raises(AirserveError):
        rotate_key(acme, PEPPER, old, now_ns=6, overlap_ns=-1)
    with acme.read() as connection:
        assert find_key(connection, old) == before
