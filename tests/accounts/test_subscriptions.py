from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.accounts import create_key, create_tenant, load_directory
from airserve.accounts.budgets import list_budgets, remove_budget, set_budget
from airserve.accounts.plans import Plan, insert_plan, list_plans
from airserve.accounts.projects import create_project
from airserve.accounts.subscriptions import list_subscriptions, subscribe, timeline
from airserve.accounts.tenants import set_tenant_currency
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod, Limits, Terms
from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database
from tests.accounts.conftest import PEPPER

decisions = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["a", "b", None])), max_size=12)


def publish(database: Database, code: str, terms: Terms | None = None) -> Plan:
    with database.write() as connection:
        return insert_plan(connection, code, code.title(), terms or Terms(), now_ns=2)


@given(decisions, st.integers(0, 22))
def test_at_any_moment_the_last_decision_that_has_started_holds(
    made: list[tuple[int, str | None]], moment: int
) -> None:
    rows = [(number, starts_ns, plan) for number, (starts_ns, plan) in enumerate(made, 1)]
    expected = max(((number, plan) for number, start, plan in rows if start <= moment), default=(0, None))[1]
    changes = timeline(rows)
    assert next((plan for start, plan in reversed(changes) if start <= moment), None) == expected
    starts = [start for start, _ in changes]
    assert starts == sorted(set(starts))
    # Every entry changes something.
    assert all(before[1] != after[1] for before, after in zip([(0, None), *changes], changes, strict=False))


def test_a_snapshot_switches_to_the_next_plan_by_itself(acme_on_each: Database) -> None:
    small = publish(acme_on_each, "small", Terms(limits=Limits(concurrency=1)))
    large = publish(acme_on_each, "large", Terms(limits=Limits(concurrency=9)))
    key, _ = create_key(acme_on_each, PEPPER, now_ns=3, tenant="acme", expires_ns=400)
    subscribe(acme_on_each, "acme", "small", now_ns=100)
    subscribe(acme_on_each, "acme", "large", now_ns=110, starts_ns=200)
    subscribe(acme_on_each, "acme", None, now_ns=120, starts_ns=300)
    directory = load_directory(acme_on_each, PEPPER)
    plans = [directory.authenticate(key, now_ns).account.plan_id for now_ns in (99, 100, 199, 200, 299, 300, 399)]
    assert plans == [None, small.id, small.id, large.id, large.id, None, None]
    # A clock that jumps back finds what held then.
    assert directory.authenticate(key, 150).account.terms.limits.concurrency == 1


def test_a_subscription_keeps_its_version_until_it_is_changed(acme: Database) -> None:
    first = publish(acme, "team")
    subscribe(acme, "acme", "team", now_ns=10)
    second = publish(acme, "team", Terms(priority=5))
    assert [plan.version for plan in list_plans(acme)] == [1, 2]
    key, _ = create_key(acme, PEPPER, now_ns=3, tenant="acme")
    assert load_directory(acme, PEPPER).authenticate(key, 11).account.plan_id == first.id
    subscribe(acme, "acme", "team@2", now_ns=12)
    assert load_directory(acme, PEPPER).authenticate(key, 13).account.plan_id == second.id
    assert [each.plan and each.plan.version for each in list_subscriptions(acme, "acme")] == [1, 2]


def test_a_plan_in_the_past_or_in_another_currency_is_refused(acme: Database) -> None:
    publish(acme, "swiss", Terms(currency="CHF"))
    publish(acme, "team")
    with pytest.raises(ConflictError, match="CHF"):
        subscribe(acme, "acme", "swiss", now_ns=10)
    with pytest.raises(InvalidInputError, match="past"):
        subscribe(acme, "acme", "team", now_ns=10, starts_ns=9)
    with pytest.raises(NotFoundError):
        subscribe(acme, "acme", "team@7", now_ns=10)
    assert list_subscriptions(acme, "acme") == []
    set_tenant_currency(acme, "acme", "CHF", now_ns=11)
    subscribe(acme, "acme", "swiss", now_ns=12)
    with pytest.raises(ConflictError, match="plan in CHF"):
        set_tenant_currency(acme, "acme", "EUR", now_ns=13)


def test_equal_accounts_are_one_object_and_budgets_reach_whom_they_are_over(acme_on_each: Database) -> None:
    create_tenant(acme_on_each, "other", now_ns=1)
    create_project(acme_on_each, "acme", "line 4", now_ns=2)
    publish(acme_on_each, "team", Terms(budget=Budget(500)))
    for tenant in ("acme", "other"):
        subscribe(acme_on_each, tenant, "team", now_ns=3)
    keys = [
        create_key(acme_on_each, PEPPER, now_ns=4, tenant=tenant, project=project)[0]
        for tenant, project in (("acme", "default"), ("acme", "default"), ("acme", "line 4"), ("other", "default"))
    ]
    set_budget(acme_on_each, "acme", Budget(50), now_ns=5, project="line 4")
    set_budget(acme_on_each, "acme", Budget(300), now_ns=5)
    set_budget(acme_on_each, "acme", Budget(900, mode=BudgetMode.SOFT), now_ns=5)
    directory = load_directory(acme_on_each, PEPPER)
    accounts = [directory.authenticate(key, 10).account for key in keys]
    assert accounts[0] is accounts[1]

    def limits(number: int) -> list[tuple[str, int, str]]:
        return [(each.scope, each.budget.limit_nano, each.budget.mode.value) for each in accounts[number].budgets]

    # Of two of a kind the smaller holds: the tenant's own 300 instead of the plan's 500.
    assert limits(0) == [("tenant", 300, "hard"), ("tenant", 900, "soft")]
    assert limits(2) == [*limits(0), ("project", 50, "hard")]
    assert limits(3) == [("tenant", 500, "hard")]


def test_a_budget_is_replaced_by_one_of_its_kind_and_removed_by_its_own_tenant(acme_on_each: Database) -> None:
    other = create_tenant(acme_on_each, "other", now_ns=1)
    first = set_budget(acme_on_each, "acme", Budget(50), now_ns=5)
    again = set_budget(acme_on_each, "acme", Budget(70), now_ns=6)
    daily = set_budget(acme_on_each, "acme", Budget(9, BudgetPeriod.DAY), now_ns=6)
    assert again.id == first.id
    assert list_budgets(acme_on_each, "acme") == [again, daily]
    with pytest.raises(NotFoundError):
        remove_budget(acme_on_each, first.id, now_ns=7, tenant_id=other.id)
    remove_budget(acme_on_each, first.id, now_ns=7, tenant_id=first.tenant_id)
    assert list_budgets(acme_on_each) == [daily]
    with pytest.raises(InvalidInputError):
        set_budget(acme_on_each, "acme", Budget(-1), now_ns=7)
    with pytest.raises(InvalidInputError, match="not both"):
        set_budget(acme_on_each, "acme", Budget(1), now_ns=7, project="default", key="x")
