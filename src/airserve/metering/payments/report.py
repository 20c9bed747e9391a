"""Telling a payment provider of usage: of each call that cost, each unit that its price names, once.

Told is what tenants used that are linked to a customer of the provider; what is used before the link is not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import NotFoundError
from airserve.metering.event import COSTS, Outcome
from airserve.metering.exports import next_batch, received, refuse
from airserve.metering.payments.provider import MeterEvent, PaymentProvider, RefusedEventError
from airserve.metering.prices import Price, first_price_nano, read_prices
from airserve.storage import Database, tables

BATCH = 200
AT_ONCE = 8
METERS = {
    "calls": "airserve_calls",
    "compute_seconds": "airserve_compute_ns",
    "input_tokens": "airserve_input_tokens",
    "cached_tokens": "airserve_cached_tokens",
    "output_tokens": "airserve_output_tokens",
    "megabytes": "airserve_bytes",
}
"""The provider's meter for each unit; values are whole numbers in the smallest part."""
_COSTS = {outcome.value for outcome in COSTS}


@dataclass(frozen=True, slots=True)
class Customer:
    """The provider's id for a tenant, and since when its usage is reported."""

    id: str
    linked_ns: int


def report_usage(database: Database, provider: PaymentProvider, *, clock_ns: Callable[[], int]) -> int:
    """Tell the provider of all that is new in the ledger; how many meter events it took. Blocks.

    Raises `UnreachableError` where the provider does not answer or cannot be used; what it took so far is remembered.
    """
    count = 0
    while (batch := next_batch(database, provider.name, BATCH)) is not None:
        customers = linked_customers(database, provider.name)
        events = [each for each in batch.events if each.outcome in _COSTS and _is_linked(each, customers)]
        prices = _prices(database, {each.price_id for each in events})

        def tell(event: Any, customers: dict[str, Customer] = customers, prices: dict[int, Price] = prices) -> int:
            found = meter_events(event, customers[event.tenant_id].id, prices.get(event.price_id))
            try:
                for each in found:
                    provider.report(each)
            except RefusedEventError as error:
                refuse(database, provider.name, event.id, error.message, now_ns=clock_ns())
                return 0
            return len(found)

        with ThreadPoolExecutor(AT_ONCE, "payments") as threads:
            count += sum(threads.map(tell, events))
        received(database, provider.name, batch)
    return count


def meter_events(event: Any, customer: str, price: Price | None) -> list[MeterEvent]:
    """A row of the ledger as meter events: one for each unit that was used and has a price."""
    answered = event.outcome == Outcome.OK.value
    quantities = {
        "calls": int(answered),
        "compute_seconds": event.compute_ns * answered,
        "input_tokens": event.input_tokens - event.cached_tokens,
        "cached_tokens": event.cached_tokens,
        "output_tokens": event.output_tokens,
        "megabytes": (event.bytes_in + event.bytes_out) * answered,
    }
    return [
        MeterEvent(_identifier(event.id, unit), METERS[unit], customer, quantity, event.admitted_ns // 1_000_000_000)
        for unit, quantity in quantities.items()
        if quantity and price is not None and first_price_nano(price, unit)
    ]


def link_customer(database: Database, provider: str, tenant_id: str, customer: str, *, now_ns: int) -> None:
    """Report what the tenant uses from now on as this customer's."""
    table = tables.payment_customers
    with database.write(announce=False) as connection:
        connection.execute(sa.delete(table).where(table.c.provider == provider, table.c.tenant_id == tenant_id))
        connection.execute(
            sa.insert(table).values(provider=provider, tenant_id=tenant_id, customer=customer, linked_ns=now_ns)
        )


def unlink_customer(database: Database, provider: str, tenant_id: str) -> None:
    """Report nothing more of the tenant. Raises `NotFoundError` where it is not linked."""
    table = tables.payment_customers
    with database.write(announce=False) as connection:
        this = (table.c.provider == provider, table.c.tenant_id == tenant_id)
        if not connection.execute(sa.delete(table).where(*this)).rowcount:
            raise NotFoundError("this tenant is linked to no customer; see airserve payments list")


def linked_customers(database: Database, provider: str) -> dict[str, Customer]:
    """The provider's customers by tenant."""
    table = tables.payment_customers
    with database.read() as connection:
        rows = connection.execute(sa.select(table).where(table.c.provider == provider))
        return {row.tenant_id: Customer(row.customer, row.linked_ns) for row in rows}


def _is_linked(event: Any, customers: dict[str, Customer]) -> bool:
    customer = customers.get(event.tenant_id)
    return customer is not None and event.admitted_ns >= customer.linked_ns


def _prices(database: Database, ids: set[int]) -> dict[int, Price]:
    with database.read() as connection:
        return {price.id: price for price in read_prices(connection, tables.prices.c.id.in_(ids))}


def _identifier(event_id: str, unit: str) -> str:
    """At most 100 characters, as Stripe wants it; the ids of events are longer."""
    return sha256(f"{event_id}/{unit}".encode()).hexdigest()
