"""Who an invoice is from and who it is for: names, addresses and tax, as they are printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.errors import InvalidInputError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

_LONGEST = 400


class Seller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who sends invoices: `[seller]` in `settings.toml`. `address` may have lines; `bank` is where to pay."""

    name: str = "Airserve"
    address: str = ""
    email: str = ""
    tax_id: str = ""
    bank: str = ""


class BillingDetails(msgspec.Struct, frozen=True):
    """Who a tenant's invoices are for, and its tax in millionths: 220,000 is 22 %.

    `tax_note` is printed under the total, such as why no tax is due. An empty legal name is the tenant's name.
    """

    legal_name: str = ""
    address: str = ""
    email: str = ""
    tax_id: str = ""
    tax_name: str = "VAT"
    tax_ppm: int = 0
    tax_note: str = ""
    payment_days: int = 14


def billing_details(connection: sa.Connection, tenant_id: str) -> BillingDetails:
    """What is known of the tenant; the defaults where nothing was set."""
    table = tables.billing_details
    row = connection.execute(sa.select(table).where(table.c.tenant_id == tenant_id)).one_or_none()
    if row is None:
        return BillingDetails()
    return BillingDetails(**{name: getattr(row, name) for name in BillingDetails.__struct_fields__})


def change_billing_details(
    database: Database, tenant_id: str, changes: Mapping[str, Any], *, now_ns: int, actor: str | None = None
) -> BillingDetails:
    """Change some of them, by name; what they are then. The log says who did."""
    with database.write(announce=False) as connection:
        before = billing_details(connection, tenant_id)
        after: BillingDetails = msgspec.structs.replace(before, **changes)
        set_billing_details(connection, tenant_id, after)
        record(
            connection, actor=actor, action="tenant.billing", object_id=tenant_id, before=before, after=after,
            now_ns=now_ns, tenant_id=tenant_id,
        )  # fmt: skip
    return after


def set_billing_details(connection: sa.Connection, tenant_id: str, details: BillingDetails) -> None:
    """Print this on the tenant's invoices from now on; those that were issued stay as they are."""
    if not 0 <= details.tax_ppm <= 1_000_000:
        raise InvalidInputError(f"a tax is 0 to 1,000,000 millionths (0 to 100 %), not {details.tax_ppm}")
    if not 0 <= details.payment_days <= 365:
        raise InvalidInputError(f"an invoice is due within 0 to 365 days, not {details.payment_days}")
    for name, value in msgspec.structs.asdict(details).items():
        if isinstance(value, str) and (len(value) > _LONGEST or not value.replace("\n", "").isprintable()):
            raise InvalidInputError(f"{name} has at most {_LONGEST} printable characters, in one line or several")
    table = tables.billing_details
    values = msgspec.structs.asdict(details)
    connection.execute(sa.delete(table).where(table.c.tenant_id == tenant_id))
    connection.execute(sa.insert(table).values(tenant_id=tenant_id, **values))
