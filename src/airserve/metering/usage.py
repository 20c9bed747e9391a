"""The usage report: what each tenant used of each model on each day, and what it costs, summed from the ledger."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.metering.event import COSTS, ENDS, Outcome
from airserve.metering.money import amount_text
from airserve.storage import tables
from airserve.storage.database import Database

DAY_NS = 86_400 * 1_000_000_000
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The calls of one tenant to one model, admitted on one day (UTC), in one currency.

    `ok` … `partial` count the calls by outcome. Rows, bytes, compute time, tokens and amount are of those that cost:
    the answered calls (`ok`), and the generations that ended early (`partial`). Cached tokens are part of the input
    tokens. `amount_nano` is in 1e-9 of `currency`.
    """

    tenant_id: str
    tenant: str
    model: str
    day: dt.date
    currency: str
    ok: int
    refused: int
    late: int
    cancelled: int
    failed: int
    partial: int
    rows: int
    bytes_in: int
    bytes_out: int
    compute_ns: int
    amount_nano: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int

    @property
    def calls(self) -> int:
        """All calls, however they ended."""
        return self.ok + self.refused + self.late + self.cancelled + self.failed + self.partial

    @property
    def compute_seconds(self) -> str:
        """The exact compute time as a decimal text."""
        return amount_text(self.compute_ns)

    @property
    def amount(self) -> str:
        """The exact amount as a decimal text."""
        return amount_text(self.amount_nano)


def usage(
    db: Database,
    *,
    tenant: str | None = None,
    model: str | None = None,
    since: dt.date | None = None,
    until: dt.date | None = None,
) -> list[UsageRow]:
    """Usage per tenant, model, day and currency, in this order.

    `tenant` is an id or a name; `since` and `until` are days in UTC, both included. Raises `NotFoundError` for a tenant
    that does not exist. What is not yet folded is not in it: call `ledger.fold` before.
    """
    if since and until and since > until:
        raise InvalidInputError(f"the days from {since} to {until} are none; put the earlier day first")
    events, tenants = tables.usage_events, tables.tenants
    with db.read() as connection:
        wanted = [] if tenant is None else [events.c.tenant_id == tenant_id_of(connection, tenant)]
        if model is not None:
            wanted.append(events.c.model == model)
        if since is not None:
            wanted.append(events.c.admitted_ns >= start_ns(since))
        if until is not None:
            wanted.append(events.c.admitted_ns < start_ns(until) + DAY_NS)
        return [_usage_row(row) for row in connection.execute(_report(wanted, events, tenants))]


def totals(rows: Iterable[UsageRow]) -> dict[str, int]:
    """The amount of `rows` per currency, in nano-units."""
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row.currency] += row.amount_nano
    return dict(sorted(sums.items()))


def _report(wanted: list[sa.ColumnElement[bool]], events: sa.Table, tenants: sa.Table) -> sa.Select[Any]:
    # A literal, not a bound parameter: PostgreSQL must see the same expression in SELECT and GROUP BY.
    day = (events.c.admitted_ns - events.c.admitted_ns % sa.literal_column(str(DAY_NS))).label("day_ns")
    name = sa.func.coalesce(sa.func.max(tenants.c.name), "")
    counts = [_count(events, outcome) for outcome in ENDS]
    sums = [
        _sum(events, column)
        for column in (
            events.c.rows, events.c.bytes_in, events.c.bytes_out, events.c.compute_ns, events.c.amount_nano,
            events.c.input_tokens, events.c.cached_tokens, events.c.output_tokens,
        )
    ]  # fmt: skip
    groups = (events.c.tenant_id, events.c.model, day, events.c.currency)
    return (
        sa.select(events.c.tenant_id, name, events.c.model, day, events.c.currency, *counts, *sums)
        .select_from(events.outerjoin(tenants, tenants.c.id == events.c.tenant_id))
        .where(*wanted)
        .group_by(*groups)
        .order_by(name, *groups)
    )


def _count(events: sa.Table, outcome: Outcome) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((events.c.outcome == outcome.value, 1), else_=0))


def _sum(events: sa.Table, column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    costs = events.c.outcome.in_([outcome.value for outcome in COSTS])
    return sa.func.sum(sa.case((costs, column), else_=0))


def _usage_row(row: Sequence[Any]) -> UsageRow:
    tenant_id, tenant, model, day_ns, currency, *numbers = row
    day = _EPOCH + dt.timedelta(days=int(day_ns) // DAY_NS)
    return UsageRow(tenant_id, tenant, model, day, currency, *map(int, numbers))


def start_ns(day: dt.date) -> int:
    """The first moment of a day, UTC nanoseconds."""
    return (day - _EPOCH).days * DAY_NS


def tenant_id_of(connection: sa.Connection, tenant: str) -> str:
    """The id behind a tenant's id or name. Raises `NotFoundError`."""
    tenants = tables.tenants
    query = sa.select(tenants.c.id).where(sa.or_(tenants.c.id == tenant, tenants.c.name == tenant))
    # A name may look like another tenant's id: the id wins.
    found: str | None = connection.scalars(query.order_by(tenants.c.id != tenant).limit(1)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no tenant '{tenant}'; `airserve tenants list` shows them all")
    return found
