"""What a call costs: immutable prices in integer nano-units, and the one function that rates a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.core.errors import InvalidInputError
from airserve.metering.event import INT64_MAX
from airserve.storage import tables
from airserve.storage.database import Database

NANO = 1_000_000_000
"""Nano-units in one unit of a currency, and nanoseconds in a second."""
MAX_PRICE_NANO = 1_000_000 * NANO
"""A price above a million units a call or a second is taken for a slip."""
EVERY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Price:
    """One price of `model` ('*': of every model that has none), in 1e-9 of `currency` per call and per second computed.

    A row never changes; a new price is a new row with a higher id. Id 0 is the price of what nobody has priced: free.
    """

    id: int
    model: str
    per_call_nano: int
    per_compute_second_nano: int
    currency: str


def amount_nano(price: Price, compute_ns: int) -> int:
    """What a call that computed for `compute_ns` costs, in 1e-9 of the price's currency.

    The part of a second is rounded half up to the nano-unit. A pure function of integers: rating an event again gives
    the same amount for ever.
    """
    if compute_ns < 0:
        raise InvalidInputError(f"compute time is 0 ns or more, not {compute_ns}")
    amount = price.per_call_nano + (price.per_compute_second_nano * compute_ns + NANO // 2) // NANO
    if amount > INT64_MAX:
        raise InvalidInputError(
            f"price {price.id} makes {amount} nano-units of {compute_ns} ns; the ledger holds {INT64_MAX}"
        )
    return amount


FREE = Price(0, EVERY_MODEL, 0, 0, "EUR")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The prices that hold at one moment: an immutable snapshot to admit calls with."""

    by_model: Mapping[str, Price]

    def of(self, model: str) -> Price:
        """The price of `model`: its own, else that of every model, else free."""
        return self.by_model.get(model) or self.by_model.get(EVERY_MODEL) or FREE


def set_price(
    db: Database,
    model: str,
    *,
    per_call_nano: int,
    per_compute_second_nano: int,
    now_ns: int,
    currency: str = "EUR",
) -> Price:
    """Give `model` ('*': all that have no price of their own) a new price, for calls admitted from now on.

    Both parts are 0 to `MAX_PRICE_NANO`, in 1e-9 of `currency` (three capital letters, as in ISO 4217). The price
    before stays in the table: what was rated with it can be rated again.
    """
    if not model or not model.isprintable():
        raise InvalidInputError("a price is for the name of a model, or '*' for every model without one")
    for what, nano in (("call", per_call_nano), ("second of compute", per_compute_second_nano)):
        if not 0 <= nano <= MAX_PRICE_NANO:
            raise InvalidInputError(f"the price of a {what} is 0 to {MAX_PRICE_NANO} nano-units, not {nano}")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidInputError(f"'{currency[:20]}' is no currency; use three capital letters such as EUR")
    with db.write() as connection:
        result = connection.execute(
            sa.insert(tables.prices).values(
                model=model,
                per_call_nano=per_call_nano,
                per_compute_second_nano=per_compute_second_nano,
                currency=currency,
                created_ns=now_ns,
            )
        )
        (price_id,) = result.inserted_primary_key or (0,)
    return Price(price_id, model, per_call_nano, per_compute_second_nano, currency)


def load_prices(db: Database) -> PriceBook:
    """The prices that hold now: of each model the row with the largest id."""
    prices = tables.prices
    newest = sa.select(sa.func.max(prices.c.id)).group_by(prices.c.model)
    query = sa.select(
        prices.c.id, prices.c.model, prices.c.per_call_nano, prices.c.per_compute_second_nano, prices.c.currency
    ).where(prices.c.id.in_(newest))
    with db.read() as connection:
        return PriceBook({row.model: Price(*row) for row in connection.execute(query)})
