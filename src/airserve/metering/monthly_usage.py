"""One tenant's month as the ledger holds it, summed by project, model, price and unit: what rating begins with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from airserve.core.generation import TokenCounts
from airserve.metering.event import COSTS, Outcome
from airserve.metering.periods import bounds_ns
from airserve.metering.prices import FREE, Price, amount_nano, partial_amount_nano, read_prices
from airserve.metering.rating import Charged, Used
from airserve.metering.units import CACHED_TOKENS, CALLS, COMPUTE_SECONDS, INPUT_TOKENS, MEGABYTES, OUTPUT_TOKENS
from airserve.storage import tables

_UNITS = (CALLS, COMPUTE_SECONDS, INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, MEGABYTES)


@dataclass(frozen=True, slots=True)
class MonthlyUsage:
    """The calls of one tenant, month and currency that cost. `calls_nano` is what those behind `used` were charged."""

    used: tuple[Used, ...] = ()
    charged: tuple[Charged, ...] = ()
    calls_nano: int = 0
    prices: Mapping[int, Price] = field(default_factory=dict)


def monthly_usage(connection: sa.Connection, tenant_id: str, period: str) -> dict[str, MonthlyUsage]:
    """What the tenant's calls used in the month, by currency; from one aggregate query over the events.

    Calls that a strict budget had set a cap for may have been charged less than their price. Those that reached the cap
    are looked at one by one, and told apart where it is so: they are charged as they are, without tiers or allowance.
    """
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(_sums(tenant_id, period)):
        rows[row.currency].append(row)
    wanted = {row.price_id for each in rows.values() for row in each}
    prices = {price.id: price for price in read_prices(connection, tables.prices.c.id.in_(wanted))}
    prices[FREE.id] = FREE
    found = {}
    for currency, of_currency in sorted(rows.items()):
        capped = _Capped()
        if any(row.at_cap for row in of_currency):
            _look_at_caps(connection, tenant_id, period, currency, prices, capped)
        found[currency] = _usage(of_currency, capped, prices)
    return found


def _usage(rows: Sequence[Any], capped: _Capped, prices: Mapping[int, Price]) -> MonthlyUsage:
    used, charged, calls_nano = [], list(capped.charged.values()), 0
    for row in rows:
        key = (row.project_id, row.model, row.price_id)
        quantities = [int(row._mapping[unit.name]) for unit in _UNITS]
        if row.price_id not in prices:
            # Only the amounts are known of a price that is not here; they stand as they are.
            charged.append(Charged(*key, quantities[0], int(row.amount)))
            continue
        taken = capped.quantities.get(key, [0] * (len(_UNITS) + 1))
        calls_nano += int(row.amount) - taken[0]
        used += [
            Used(*key, unit.name, quantity - less)
            for unit, quantity, less in zip(_UNITS, quantities, taken[1:], strict=True)
        ]
    return MonthlyUsage(tuple(used), tuple(each for each in charged if each.amount_nano), calls_nano, prices)


def _look_at_caps(
    connection: sa.Connection,
    tenant_id: str,
    period: str,
    currency: str,
    prices: Mapping[int, Price],
    capped: _Capped,
) -> None:
    events = tables.usage_events.c
    query = sa.select(*(events[name] for name in _CAPPED_COLUMNS)).where(
        *_of(tenant_id, period), events.currency == currency, events.cap_nano > 0, events.amount_nano == events.cap_nano
    )
    for event in connection.execute(query):
        price = prices.get(event.price_id)
        if price is not None and full_amount_nano(price, event) > event.amount_nano:
            capped.add(event)


def full_amount_nano(price: Price, event: Any) -> int:
    """What an event's call costs by its price alone; I10: the same number for ever."""
    tokens = TokenCounts(event.input_tokens, event.cached_tokens, event.output_tokens)
    if event.outcome == Outcome.PARTIAL.value:
        return partial_amount_nano(price, tokens)
    return amount_nano(price, event.compute_ns, tokens, event.bytes_in + event.bytes_out)


_CAPPED_COLUMNS = (
    "project_id", "model", "price_id", "outcome", "amount_nano", "compute_ns", "bytes_in", "bytes_out",
    "input_tokens", "cached_tokens", "output_tokens",
)  # fmt: skip


class _Capped:
    """Sums of the calls that cost less than their price."""

    def __init__(self) -> None:
        self.charged: dict[tuple[str, str, int], Charged] = {}
        self.quantities: dict[tuple[str, str, int], list[int]] = {}

    def add(self, event: Any) -> None:
        key = (event.project_id, event.model, event.price_id)
        before = self.charged.get(key, Charged(*key, 0, 0))
        self.charged[key] = Charged(*key, before.calls + 1, before.amount_nano + event.amount_nano)
        ok = event.outcome == Outcome.OK.value
        quantities = [
            event.amount_nano,
            int(ok),
            event.compute_ns * ok,
            event.input_tokens - event.cached_tokens,
            event.cached_tokens,
            event.output_tokens,
            (event.bytes_in + event.bytes_out) * ok,
        ]
        sums = self.quantities.setdefault(key, [0] * len(quantities))
        self.quantities[key] = [sum_ + quantity for sum_, quantity in zip(sums, quantities, strict=True)]


def _sums(tenant_id: str, period: str) -> sa.Select[Any]:
    events = tables.usage_events.c
    ok = events.outcome == Outcome.OK.value
    # An answered call costs all of its units, a generation that ended early its tokens alone.
    quantities = {
        CALLS: sa.case((ok, 1), else_=0),
        COMPUTE_SECONDS: sa.case((ok, events.compute_ns), else_=0),
        INPUT_TOKENS: events.input_tokens - events.cached_tokens,
        CACHED_TOKENS: events.cached_tokens,
        OUTPUT_TOKENS: events.output_tokens,
        MEGABYTES: sa.case((ok, events.bytes_in + events.bytes_out), else_=0),
    }
    at_cap = sa.and_(events.cap_nano > 0, events.amount_nano == events.cap_nano)
    groups = (events.currency, events.project_id, events.model, events.price_id)
    return (
        sa.select(
            *groups,
            sa.func.sum(events.amount_nano).label("amount"),
            sa.func.sum(sa.case((at_cap, 1), else_=0)).label("at_cap"),
            *(sa.func.sum(quantities[unit]).label(unit.name) for unit in _UNITS),
        )
        .where(*_of(tenant_id, period), events.outcome.in_([outcome.value for outcome in COSTS]))
        .group_by(*groups)
        .order_by(*groups)
    )


def _of(tenant_id: str, period: str) -> tuple[sa.ColumnElement[bool], ...]:
    events = tables.usage_events.c
    start_ns, end_ns = bounds_ns(period)
    return events.tenant_id == tenant_id, events.admitted_ns >= start_ns, events.admitted_ns < end_ns
