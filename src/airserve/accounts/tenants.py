"""Tenants: who is served and who pays."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables

STATUSES = ("active", "suspended", "closed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. `status` is active, suspended (403 until activated) or closed (for good)."""

    id: str
    name: str
    status: str
    created_ns: int


def create_tenant(database: Database, name: str, *, now_ns: int) -> Tenant:
    """A new active tenant. Raises `ConflictError` where the name is taken."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError("a tenant's name is 1 to 63 letters, digits, spaces, dots, dashes or underscores")
    tenant = Tenant(f"ten_{secrets.token_hex(10)}", name, "active", now_ns)
    with database.write() as connection:
        if connection.execute(sa.select(tables.tenants.c.id).where(tables.tenants.c.name == name)).first():
            raise ConflictError(f"there is a tenant '{name}' already; choose another name")
        connection.execute(
            tables.tenants.insert().values(id=tenant.id, name=name, status=tenant.status, created_ns=now_ns)
        )
    return tenant


def list_tenants(database: Database) -> list[Tenant]:
    """All tenants, oldest first."""
    with database.read() as connection:
        rows = connection.execute(sa.select(tables.tenants).order_by(tables.tenants.c.created_ns)).all()
    return [Tenant(*row) for row in rows]


def find_tenant(connection: sa.Connection, name_or_id: str) -> Tenant:
    """The tenant with this name or id. Raises `NotFoundError`."""
    columns = tables.tenants.c
    query = sa.select(tables.tenants).where(sa.or_(columns.id == name_or_id, columns.name == name_or_id))
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(f"no tenant '{name_or_id}'; see airserve tenants list")
    return Tenant(*row)


def set_tenant_status(database: Database, name_or_id: str, status: str) -> Tenant:
    """Suspend, activate or close a tenant; a running service follows within a second."""
    if status not in STATUSES:
        raise InvalidInputError(f"a tenant's status is one of {', '.join(STATUSES)}")
    with database.write() as connection:
        tenant = find_tenant(connection, name_or_id)
        if tenant.status == "closed" and status != "closed":
            raise ConflictError(f"tenant '{tenant.name}' is closed for good; create another")
        connection.execute(tables.tenants.update().where(tables.tenants.c.id == tenant.id).values(status=status))
    return Tenant(tenant.id, tenant.name, status, tenant.created_ns)
