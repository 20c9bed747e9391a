"""Telling the endpoints of webhooks of budgets that are nearly spent, or spent: once for each, and each period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from airserve.metering.leases import bounds
from airserve.metering.money import amount_text
from airserve.storage import Database, tables
from airserve.storage.outbox import announce, id_of

WARNING_PERCENT = 80
EVENTS = {WARNING_PERCENT: "budget.warning", 100: "budget.exhausted"}


class Limit(NamedTuple):
    """A budget over a tenant, one of its projects or keys, in nano-units."""

    tenant_id: str
    scope: str
    scope_id: str
    period: str
    limit_nano: int
    currency: str


class _Budget(msgspec.Struct):
    limit_nano: int
    period: str = "month"


class _Terms(msgspec.Struct):
    budget: _Budget | None = None


def announce_budgets(database: Database, *, now_ns: int) -> int:
    """Announce what budgets have passed since the last look; how many announcements were new.

    A budget of 0 opens nothing and announces nothing. Which calls are in flight does not count: what was charged does.
    """
    with database.read() as connection:
        if not _somebody_listens(connection):
            return 0
        passed = [each for limit in _limits(connection, now_ns) for each in _passed(connection, limit, now_ns)]
        ids = {
            id_of(EVENTS[percent], limit.tenant_id, key): each for each in passed for limit, percent, _, key in [each]
        }
        messages = tables.webhook_messages.c
        told = set(connection.scalars(sa.select(messages.id).where(messages.id.in_(ids))))
    new = [each for message_id, each in ids.items() if message_id not in told]
    if not new:
        return 0
    with database.write(announce=False) as connection:
        for limit, percent, spent_nano, key in new:
            data = {
                "scope": limit.scope,
                "scope_id": limit.scope_id,
                "period": limit.period,
                "limit": amount_text(limit.limit_nano),
                "spent": amount_text(spent_nano),
                "currency": limit.currency,
                "percent": percent,
            }
            announce(connection, EVENTS[percent], data, key=key, now_ns=now_ns, tenant_id=limit.tenant_id)
    return len(new)


def _passed(connection: sa.Connection, limit: Limit, now_ns: int) -> Iterator[tuple[Limit, int, int, str]]:
    windows = tables.budget_windows.c
    start_ns, _ = bounds(limit.period, now_ns)
    query = sa.select(windows.spent_nano).where(
        windows.scope == limit.scope,
        windows.scope_id == limit.scope_id,
        windows.period == limit.period,
        windows.start_ns == start_ns,
    )
    spent = connection.scalar(query) or 0
    for percent in EVENTS:
        if limit.limit_nano and spent * 100 >= limit.limit_nano * percent:
            key = f"{limit.scope}/{limit.scope_id}/{limit.period}/{start_ns}/{limit.limit_nano}/{percent}"
            yield limit, percent, spent, key


def _limits(connection: sa.Connection, now_ns: int) -> Iterator[Limit]:
    budgets, tenants, plans, subscriptions = tables.budgets, tables.tenants, tables.plans, tables.subscriptions
    own = sa.select(
        budgets.c.tenant_id, budgets.c.scope, budgets.c.scope_id, budgets.c.period, budgets.c.limit_nano,
        tenants.c.currency,
    ).join_from(budgets, tenants, tenants.c.id == budgets.c.tenant_id)  # fmt: skip
    for row in connection.execute(own.order_by(budgets.c.id)):
        yield Limit(*tuple(row))
    # The subscription with the largest id that has started is the one that holds.
    holding = (
        sa.select(sa.func.max(subscriptions.c.id))
        .where(subscriptions.c.starts_ns <= now_ns)
        .group_by(subscriptions.c.tenant_id)
    )
    of_plans = (
        sa.select(subscriptions.c.tenant_id, plans.c.terms, tenants.c.currency)
        .join_from(subscriptions, plans, plans.c.id == subscriptions.c.plan_id)
        .join(tenants, tenants.c.id == subscriptions.c.tenant_id)
        .where(subscriptions.c.id.in_(holding))
    )
    for tenant_id, terms, currency in connection.execute(of_plans):
        budget = msgspec.json.decode(terms, type=_Terms).budget
        if budget is not None:
            yield Limit(tenant_id, "tenant", tenant_id, budget.period, budget.limit_nano, currency)


def _somebody_listens(connection: sa.Connection) -> bool:
    endpoints = tables.webhook_endpoints.c
    return connection.scalar(sa.select(endpoints.id).where(endpoints.removed_ns.is_(None)).limit(1)) is not None
