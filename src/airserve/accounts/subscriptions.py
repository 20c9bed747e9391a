"""Subscriptions: which version of which plan holds for a tenant, and from when on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.accounts.plans import Plan, find_plan
from airserve.accounts.tenant import find_tenant, open_tenant
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record


@dataclass(frozen=True, slots=True)
class Subscription:
    """From `starts_ns` (UTC) until the next one, `plan` holds; None is no plan: list prices and no limits."""

    tenant_id: str
    plan: Plan | None
    starts_ns: int


def subscribe(
    database: Database,
    tenant: str,
    plan: str | None,
    *,
    now_ns: int,
    starts_ns: int | None = None,
    actor: str | None = None,
) -> Subscription:
    """Give `tenant` (name or id) a plan (CODE or CODE@VERSION; None: none) from `starts_ns` (None: now) on.

    It holds until the next change, and takes the place of every change planned for later. What has been served was
    priced already: a start in the past is refused, and so is a plan in another currency than the tenant's.
    """
    starts_ns = now_ns if starts_ns is None else starts_ns
    if starts_ns < now_ns:
        raise InvalidInputError("a plan cannot start in the past: those calls have their prices; choose a day to come")
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        found = None if plan is None else find_plan(connection, plan)
        if found is not None and found.terms.currency != owner.currency:
            raise ConflictError(
                f"plan {found.reference} is in {found.terms.currency}, tenant '{owner.name}' in {owner.currency}"
            )
        before = _told(subscriptions_of(connection, owner.id))
        connection.execute(
            tables.subscriptions.insert().values(
                tenant_id=owner.id, plan_id=found.id if found else None, starts_ns=starts_ns, created_ns=now_ns
            )
        )
        record(
            connection, actor=actor, action="subscription.set", object_id=owner.id, before=before,
            after=_told(subscriptions_of(connection, owner.id)), now_ns=now_ns, tenant_id=owner.id,
        )  # fmt: skip
    return Subscription(owner.id, found, starts_ns)


def list_subscriptions(database: Database, tenant: str) -> list[Subscription]:
    """What held, holds and will hold for `tenant` (name or id), in order of time."""
    with database.read() as connection:
        return subscriptions_of(connection, find_tenant(connection, tenant).id)


def subscriptions_of(connection: sa.Connection, tenant_id: str) -> list[Subscription]:
    """The same, in the caller's transaction."""
    columns = tables.subscriptions.c
    rows = connection.execute(
        sa.select(columns.id, columns.starts_ns, columns.plan_id).where(columns.tenant_id == tenant_id)
    )
    return [
        Subscription(tenant_id, find_plan(connection, plan_id) if plan_id else None, starts_ns)
        for starts_ns, plan_id in timeline((row.id, row.starts_ns, row.plan_id) for row in rows)
    ]


def timeline(rows: Iterable[tuple[int, int, str | None]]) -> list[tuple[int, str | None]]:
    """What holds from when on, by rows `(id, starts_ns, plan_id)`: of those that have started, the last that was made.

    So a later decision takes the place of earlier ones for all time from its start on. Moments at which nothing changes
    are left out.
    """
    changes: list[tuple[int, str | None]] = []
    newest = 0
    for id, starts_ns, plan_id in sorted(rows, key=lambda row: (row[1], row[0])):
        if id < newest:
            continue
        newest = id
        if changes and changes[-1][0] == starts_ns:
            changes.pop()
        if plan_id != (changes[-1][1] if changes else None):
            changes.append((starts_ns, plan_id))
    return changes


def _told(subscriptions: list[Subscription]) -> list[dict[str, str | int | None]]:
    return [{"plan": each.plan.reference if each.plan else None, "starts_ns": each.starts_ns} for each in subscriptions]
