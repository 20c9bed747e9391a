from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.json import decode

from airserve.accounts import create_tenant
from airserve.accounts.budgets import set_budget
from airserve.accounts.plans import insert_plan
from airserve.accounts.subscriptions import subscribe
from airserve.accounts.terms import Budget, BudgetPeriod, Terms
from airserve.metering import Journal, UsageEvent, fold
from airserve.metering.budget_alerts import announce_budgets
from airserve.metering.webhooks.endpoints import add_endpoint
from airserve.storage import Database, tables

MakeEvent = Callable[..., UsageEvent]
DAY_NS = 86_400 * 10**9
NOW_NS = 20_000 * DAY_NS


@pytest.mark.parametrize("of_plan", [False, True])
def test_a_budget_that_is_nearly_or_all_spent_is_announced_once_in_each_period(
    database: Database, tmp_path: Path, make_event: MakeEvent, of_plan: bool
) -> None:
    tenant = create_tenant(database, "acme", now_ns=1)
    budget = Budget(10_000, period=BudgetPeriod.DAY)
    if of_plan:
        with database.write() as connection:
            insert_plan(connection, "team", "Team", Terms(budget=budget), now_ns=2)
        subscribe(database, "acme", "team", now_ns=3)
    else:
        set_budget(database, "acme", budget, now_ns=2)
    journal = Journal.open(tmp_path / "journal", "n")
    number = 0

    def spend(nano: int, at_ns: int = NOW_NS) -> list[str]:
        nonlocal number
        number += 1
        journal.append([make_event(id=f"c{number}", tenant_id=tenant.id, amount_nano=nano, admitted_ns=at_ns)])
        fold(database, tmp_path / "journal")
        before = told()
        new = announce_budgets(database, now_ns=at_ns)
        assert announce_budgets(database, now_ns=at_ns) == 0
        found = told()[len(before) :]
        assert len(found) == new
        return found

    def told() -> list[str]:
        with database.read() as connection:
            rows = connection.execute(tables.webhook_messages.select()).all()
        return sorted(
            (f"{row.type} {decode(row.body)['data']['spent']}" for row in rows), key=lambda text: float(text.split()[1])
        )

    assert spend(100) == []
    add_endpoint(database, b"p" * 32, "https://hook.example/", tenant_id=None, allow_private=False, now_ns=1)
    assert spend(7_899) == []
    assert spend(1) == ["budget.warning 0.000008"]
    assert spend(1_999) == []
    assert spend(5) == ["budget.exhausted 0.000010004"]
    assert spend(9_000, NOW_NS + DAY_NS) != []
    journal.close()
