"""The entries that calls make, in bulk: each one debits what its tenant owes and credits revenue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.metering.periods import period_of
from airserve.metering.postings import (
    REVENUE,
    USAGE,
    accounts,
    add_to_balances,
    closed_through,
    open_period,
    receivable,
)
from airserve.storage import tables

_COLUMNS = [
    "debit_id", "credit_id", "amount_nano", "currency", "kind", "tenant_id", "period", "service_period", "event_id",
    "price_id", "note", "posted_ns",
]  # fmt: skip


class Charge(NamedTuple):
    """An event that is new to the ledger and costs something."""

    event_id: str
    tenant_id: str
    amount_nano: int
    currency: str
    price_id: int
    admitted_ns: int


def post_usage(connection: sa.Connection, charges: Sequence[Charge], *, now_ns: int) -> None:
    """Post one entry for each of `charges`, none of which was posted before.

    It is billed in the month in which the call was admitted, or in the first one that is open where that was closed.
    """
    if not charges:
        return
    tenants = sorted({charge.tenant_id for charge in charges})
    closed = closed_through(connection, tenants)
    pairs = {(charge.tenant_id, charge.currency) for charge in charges}
    ids = accounts(
        connection,
        [(receivable(tenant_id), currency) for tenant_id, currency in pairs] + [(REVENUE, each) for _, each in pairs],
    )
    debits = {(tenant_id, currency): ids[receivable(tenant_id), currency] for tenant_id, currency in pairs}
    revenues = {currency: ids[REVENUE, currency] for _, currency in pairs}
    rows = []
    sums: dict[tuple[int, int, str], int] = defaultdict(int)
    for event_id, tenant_id, amount_nano, currency, price_id, admitted_ns in charges:
        served = period_of(admitted_ns)
        period = open_period(closed, tenant_id, served) if tenant_id in closed else served
        debit, credit = debits[tenant_id, currency], revenues[currency]
        rows.append(
            (debit, credit, amount_nano, currency, USAGE, tenant_id, period, served, event_id, price_id, "", now_ns)
        )
        sums[debit, credit, period] += amount_nano
    compiled = sa.insert(tables.ledger_entries).compile(dialect=connection.dialect, column_keys=_COLUMNS)
    parameters = rows if compiled.positional else [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    connection.exec_driver_sql(str(compiled), parameters)
    crash_point("postings.after_usage")
    add_to_balances(connection, [(*key, amount) for key, amount in sums.items()])
