"""Budgets over a tenant, a project or a key, beside the one that a plan may carry."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import sqlalchemy as sa

from airserve.accounts.keys import find_key
from airserve.accounts.plans import check_budget
from airserve.accounts.projects import find_project
from airserve.accounts.tenant import Tenant, find_tenant, open_tenant
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record


@dataclass(frozen=True, slots=True)
class BudgetInfo:
    """One budget, in 1e-9 of the tenant's currency; `scope` is tenant, project or key, `scope_id` whose.

    `whose` is the name of that tenant or project, or the key's id again.
    """

    id: str
    tenant_id: str
    scope: str
    scope_id: str
    budget: Budget
    created_ns: int
    whose: str = ""


def set_budget(
    database: Database,
    tenant: str,
    budget: Budget,
    *,
    now_ns: int,
    project: str | None = None,
    key: str | None = None,
    actor: str | None = None,
) -> BudgetInfo:
    """Bound what `tenant`, one `project` of it or one `key` may spend; takes the place of one of the same kind.

    Budgets of other periods and modes stay beside it: a soft one that warns below a hard one that stops. A running
    service follows within a second.
    """
    check_budget(budget)
    columns = tables.budgets.c
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        scope, scope_id, whose = _scope(connection, owner, project, key)
        same = [
            each
            for each in _budgets(connection, columns.scope == scope, columns.scope_id == scope_id)
            if (each.budget.period, each.budget.mode) == (budget.period, budget.mode)
        ]
        if same:
            after = replace(same[0], budget=budget)
            changed = tables.budgets.update().where(columns.id == after.id).values(limit_nano=budget.limit_nano)
            connection.execute(changed)
        else:
            after = BudgetInfo(f"bud_{secrets.token_hex(6)}", owner.id, scope, scope_id, budget, now_ns, whose)
            connection.execute(
                tables.budgets.insert().values(
                    id=after.id, tenant_id=owner.id, scope=scope, scope_id=scope_id, period=budget.period.value,
                    mode=budget.mode.value, limit_nano=budget.limit_nano, created_ns=now_ns,
                )
            )  # fmt: skip
        record(
            connection, actor=actor, action="budget.set", object_id=after.id, before=same[0] if same else None,
            after=after, now_ns=now_ns, tenant_id=owner.id,
        )  # fmt: skip
    return after


def remove_budget(
    database: Database, id: str, *, now_ns: int, tenant_id: str | None = None, actor: str | None = None
) -> BudgetInfo:
    """Remove a budget by its id; `tenant_id` is whose it must be, None anybody's. Raises `NotFoundError`."""
    with database.write() as connection:
        found = _budgets(connection, tables.budgets.c.id == id)
        if not found or (tenant_id is not None and found[0].tenant_id != tenant_id):
            raise NotFoundError(f"no budget '{id[:40]}'; see airserve budgets list")
        connection.execute(tables.budgets.delete().where(tables.budgets.c.id == id))
        record(
            connection, actor=actor, action="budget.remove", object_id=id, before=found[0], now_ns=now_ns,
            tenant_id=found[0].tenant_id,
        )  # fmt: skip
    return found[0]


def list_budgets(database: Database, tenant: str | None = None) -> list[BudgetInfo]:
    """All budgets, or those of one tenant with its projects and keys, oldest first."""
    with database.read() as connection:
        if tenant is None:
            return _budgets(connection)
        return _budgets(connection, tables.budgets.c.tenant_id == find_tenant(connection, tenant).id)


def _scope(connection: sa.Connection, tenant: Tenant, project: str | None, key: str | None) -> tuple[str, str, str]:
    """The scope, its id and its name."""
    if project is not None and key is not None:
        raise InvalidInputError("a budget is over a project or over a key, not both")
    if project is not None:
        found_project = find_project(connection, tenant.id, project)
        return "project", found_project.id, found_project.name
    if key is None:
        return "tenant", tenant.id, tenant.name
    found = find_key(connection, key, tenant.id)
    if found.kind != "tenant":
        raise InvalidInputError("only a service's key can spend; a member's key opens no inference route")
    counted_as = found.counted_as or found.id
    return "key", counted_as, counted_as


def _budgets(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[BudgetInfo]:
    columns, projects, tenants = tables.budgets.c, tables.projects, tables.tenants
    query = (
        sa.select(tables.budgets, tenants.c.name.label("tenant"), projects.c.name.label("project"))
        .join_from(tables.budgets, tenants, tenants.c.id == columns.tenant_id)
        .join(projects, projects.c.id == columns.scope_id, isouter=True)
        .where(*where)
        .order_by(columns.created_ns, columns.id)
    )
    return [
        BudgetInfo(
            row.id, row.tenant_id, row.scope, row.scope_id,
            Budget(row.limit_nano, BudgetPeriod(row.period), BudgetMode(row.mode)), row.created_ns,
            {"tenant": row.tenant, "project": row.project}.get(row.scope) or row.scope_id,
        )
        for row in connection.execute(query)
    ]  # fmt: skip
