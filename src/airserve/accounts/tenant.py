"""One tenant, and how to find it by name or id."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from airserve.core.errors import ConflictError, NotFoundError
from airserve.storage import tables


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. `status` is active, suspended (403 until activated) or closed (for good).

    `currency` is that of its plans and budgets.
    """

    id: str
    name: str
    status: str
    created_ns: int
    currency: str = "EUR"


def find_tenant(connection: sa.Connection, name_or_id: str) -> Tenant:
    """The tenant with this name or id. Raises `NotFoundError`."""
    columns = tables.tenants.c
    query = sa.select(tables.tenants).where(sa.or_(columns.id == name_or_id, columns.name == name_or_id))
    # A tenant may be named like another's id: the id wins.
    row = connection.execute(query.order_by((columns.id == name_or_id).desc())).first()
    if row is None:
        raise NotFoundError(f"no tenant '{name_or_id}'; see airserve tenants list")
    return Tenant(*row)


def open_tenant(connection: sa.Connection, name_or_id: str) -> Tenant:
    """The tenant with this name or id, which must not be closed: a closed one changes no more."""
    tenant = find_tenant(connection, name_or_id)
    if tenant.status == "closed":
        raise ConflictError(f"tenant '{tenant.name}' is closed for good; create another")
    return tenant
