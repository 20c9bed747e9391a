"""Tenants, who is served and who pays: make, suspend, close."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import asdict, replace

import sqlalchemy as sa

from airserve.accounts.projects import DEFAULT_PROJECT, insert_project
from airserve.accounts.tenant import Tenant, find_tenant
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

STATUSES = ("active", "suspended", "closed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
_CURRENCY = re.compile("[A-Z]{3}")


def create_tenant(
    database: Database, name: str, *, now_ns: int, currency: str = "EUR", actor: str | None = None
) -> Tenant:
    """A new active tenant with a project `default`. Raises `ConflictError` where the name is taken."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError("a tenant's name is 1 to 63 letters, digits, spaces, dots, dashes or underscores")
    tenant = Tenant(f"ten_{secrets.token_hex(10)}", name, "active", now_ns, check_currency(currency))
    with database.write() as connection:
        if connection.execute(sa.select(tables.tenants.c.id).where(tables.tenants.c.name == name)).first():
            raise ConflictError(f"there is a tenant '{name}' already; choose another name")
        connection.execute(tables.tenants.insert().values(asdict(tenant)))
        insert_project(connection, tenant.id, DEFAULT_PROJECT, now_ns)
        record(
            connection, actor=actor, action="tenant.create", object_id=tenant.id, after=tenant, now_ns=now_ns,
            tenant_id=tenant.id,
        )  # fmt: skip
    return tenant


def check_currency(currency: str) -> str:
    """The currency, or `InvalidInputError` where it is none."""
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInputError(f"'{currency[:20]}' is no currency; use three capital letters such as EUR")
    return currency


def list_tenants(database: Database) -> list[Tenant]:
    """All tenants, oldest first."""
    with database.read() as connection:
        rows = connection.execute(sa.select(tables.tenants).order_by(tables.tenants.c.created_ns)).all()
    return [Tenant(*row) for row in rows]


def set_tenant_status(
    database: Database, name_or_id: str, status: str, *, now_ns: int | None = None, actor: str | None = None
) -> Tenant:
    """Suspend, activate or close a tenant; a running service follows within a second."""
    if status not in STATUSES:
        raise InvalidInputError(f"a tenant's status is one of {', '.join(STATUSES)}")
    return _change(database, name_or_id, "tenant.status", {"status": status}, now_ns, actor)


def set_tenant_currency(
    database: Database, name_or_id: str, currency: str, *, now_ns: int | None = None, actor: str | None = None
) -> Tenant:
    """Change the currency of a tenant that has never had a plan and has no budgets: both are in its currency."""
    return _change(database, name_or_id, "tenant.currency", {"currency": check_currency(currency)}, now_ns, actor)


def _change(
    database: Database, name_or_id: str, action: str, change: dict[str, str], now_ns: int | None, actor: str | None
) -> Tenant:
    with database.write() as connection:
        before = find_tenant(connection, name_or_id)
        after = replace(before, **change)  # type: ignore[arg-type]  # all of its texts
        if before.status == "closed" and after != before:
            raise ConflictError(f"tenant '{before.name}' is closed for good; create another")
        if after.currency != before.currency:
            _refuse_money_in_the_old_currency(connection, before)
        connection.execute(tables.tenants.update().where(tables.tenants.c.id == before.id).values(change))
        record(
            connection, actor=actor, action=action, object_id=before.id, before=before, after=after,
            now_ns=time.time_ns() if now_ns is None else now_ns, tenant_id=before.id,
        )  # fmt: skip
    return after


def _refuse_money_in_the_old_currency(connection: sa.Connection, tenant: Tenant) -> None:
    for table, what in ((tables.subscriptions, "plan"), (tables.budgets, "budget")):
        if connection.execute(sa.select(table.c.id).where(table.c.tenant_id == tenant.id)).first():
            raise ConflictError(f"tenant '{tenant.name}' has a {what} in {tenant.currency}; create another tenant")
