"""What a call costs: immutable prices in integer nano-units, and the functions that rate a call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import sqlalchemy as sa

from airserve.core.errors import InvalidInputError
from airserve.core.generation import TokenCounts
from airserve.metering.event import INT64_MAX
from airserve.metering.tiers import Step, Tiers, checked_tiers, read_tiers, tiers_text
from airserve.metering.units import UNITS
from airserve.storage import tables
from airserve.storage.audit_log import record
from airserve.storage.database import Database

NANO = 1_000_000_000
"""Nano-units in one unit of a currency, and nanoseconds in a second."""
MILLION = 1_000_000
MAX_PRICE_NANO = 1_000_000 * NANO
"""A price above a million units a call, a second, a megabyte or a million tokens is taken for a slip."""
EVERY_MODEL = "*"
_NO_TOKENS = TokenCounts()


@dataclass(frozen=True, slots=True)
class Price:
    """One price of `model` ('*': of every model that has none), in 1e-9 of `currency`.

    It is per call, per second computed, per million tokens (of the prompt, of the part of it that the engine had
    cached, and of the answer), and per megabyte of requests and replies. `plan_id` None is the list price. `tiers` say
    by unit what costs less from which quantity in a month on; a call is always rated at the first tier, and the rest is
    given back when the month is rated. A row never changes; a new price is a new row with a higher id. Id 0 is the
    price of what nobody has priced: free.
    """

    id: int
    model: str
    per_call_nano: int
    per_compute_second_nano: int
    currency: str
    per_million_input_tokens_nano: int = 0
    per_million_cached_tokens_nano: int = 0
    per_million_output_tokens_nano: int = 0
    per_megabyte_nano: int = 0
    plan_id: str | None = None
    tiers: Tiers = field(default_factory=dict)


def amount_nano(price: Price, compute_ns: int, tokens: TokenCounts = _NO_TOKENS, size_bytes: int = 0) -> int:
    """What an answered call costs that computed for `compute_ns`, used `tokens` and moved `size_bytes`, in nano-units.

    `size_bytes` are those of request and reply together. The price is that of the first tier, the highest.

    What is no whole nano-unit is rounded half up, once. A pure function of integers: rating an event again gives the
    same amount for ever.
    """
    if compute_ns < 0 or size_bytes < 0:
        raise InvalidInputError(f"compute time is 0 ns or more and sizes 0 bytes, not {compute_ns} and {size_bytes}")
    return _within_ledger(price, price.per_call_nano + _rounded(price, compute_ns, tokens, size_bytes))


def partial_amount_nano(price: Price, tokens: TokenCounts) -> int:
    """What a generation that ended early costs: its `tokens` alone, rounded as in `amount_nano`."""
    return _within_ledger(price, _rounded(price, 0, tokens, 0))


def _rounded(price: Price, compute_ns: int, tokens: TokenCounts, size_bytes: int) -> int:
    if not 0 <= tokens.cached <= tokens.input or tokens.output < 0:
        raise InvalidInputError(f"these are no counts of tokens: {tokens}")
    of_millions = (
        price.per_million_input_tokens_nano * (tokens.input - tokens.cached)
        + price.per_million_cached_tokens_nano * tokens.cached
        + price.per_million_output_tokens_nano * tokens.output
        + price.per_megabyte_nano * size_bytes
    )
    return (price.per_compute_second_nano * compute_ns + of_millions * (NANO // MILLION) + NANO // 2) // NANO


def _within_ledger(price: Price, amount: int) -> int:
    if amount > INT64_MAX:
        raise InvalidInputError(
            f"price {price.id} makes {amount} nano-units of this call; the ledger holds {INT64_MAX}"
        )
    return amount


FREE = Price(0, EVERY_MODEL, 0, 0, "EUR")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The prices that hold at one moment: an immutable snapshot to admit calls with."""

    by_model: Mapping[str, Price]
    """List prices."""
    by_plan: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    """Prices of plans, by plan id and model."""

    def of(self, model: str, plan_id: str | None = None) -> Price:
        """The price of `model`: that of the plan for it, for every model; else the list price so; else free."""
        if plan_id is not None:
            of_plan = self.by_plan.get((plan_id, model)) or self.by_plan.get((plan_id, EVERY_MODEL))
            if of_plan is not None:
                return of_plan
        return self.by_model.get(model) or self.by_model.get(EVERY_MODEL) or FREE


def set_price(
    db: Database,
    model: str,
    *,
    per_call_nano: int = 0,
    per_compute_second_nano: int = 0,
    per_million_input_tokens_nano: int = 0,
    per_million_cached_tokens_nano: int | None = None,
    per_million_output_tokens_nano: int = 0,
    per_megabyte_nano: int = 0,
    tiers: Mapping[str, Sequence[Step]] | None = None,
    now_ns: int,
    currency: str = "EUR",
    actor: str | None = None,
) -> Price:
    """Give `model` ('*': all that have no price of their own) a new price, for calls admitted from now on.

    Each part is 0 to `MAX_PRICE_NANO`, in 1e-9 of `currency` (three capital letters, as in ISO 4217). Cached tokens
    cost what other input tokens cost where they are given no price of their own. The price before stays in the table:
    what was rated with it can be rated again. Prices of plans are published with the plan and never change.
    """
    if per_million_cached_tokens_nano is None:
        per_million_cached_tokens_nano = per_million_input_tokens_nano
    price = checked_price(
        Price(
            0,
            model,
            per_call_nano,
            per_compute_second_nano,
            currency,
            per_million_input_tokens_nano,
            per_million_cached_tokens_nano,
            per_million_output_tokens_nano,
            per_megabyte_nano,
            None,
            {unit: tuple(steps) for unit, steps in (tiers or {}).items()},
        )
    )
    with db.write() as connection:
        new = insert_price(connection, price, now_ns)
        record(connection, actor=actor, action="price.set", object_id=model, after=new, now_ns=now_ns)
    return new


def checked_price(price: Price) -> Price:
    """The price with its tiers in order. Raises `InvalidInputError` where it makes no sense."""
    if not price.model or not price.model.isprintable():
        raise InvalidInputError("a price is for the name of a model, or '*' for every model without one")
    for unit in UNITS.values():
        nano = first_price_nano(price, unit.name)
        if not 0 <= nano <= MAX_PRICE_NANO:
            raise InvalidInputError(f"the price of {unit.what} is 0 to {MAX_PRICE_NANO} nano-units, not {nano}")
    if not re.fullmatch("[A-Z]{3}", price.currency):
        raise InvalidInputError(f"'{price.currency[:20]}' is no currency; use three capital letters such as EUR")
    tiers = checked_tiers(price.tiers, {name: first_price_nano(price, name) for name in UNITS})
    return replace(price, tiers=tiers)


def insert_price(connection: sa.Connection, price: Price, now_ns: int) -> Price:
    """The price as a new row, with its id; for who publishes a plan and its prices in one transaction."""
    price = checked_price(price)
    values = {name: getattr(price, name) for name in _COLUMNS if name not in ("id", "tiers")}
    result = connection.execute(
        sa.insert(tables.prices).values(created_ns=now_ns, tiers=tiers_text(price.tiers), **values)
    )
    (price_id,) = result.inserted_primary_key or (0,)
    return replace(price, id=price_id)


def first_price_nano(price: Price, unit: str) -> int:
    """The price of `unit` in the first tier, for as much of it as `Unit.priced_per` says."""
    nano: int = getattr(price, UNITS[unit].price_field)
    return nano


def load_prices(db: Database) -> PriceBook:
    """The prices that hold now: of each model, and of each model in each plan, the row with the largest id."""
    prices = tables.prices
    newest = sa.select(sa.func.max(prices.c.id)).group_by(prices.c.model, prices.c.plan_id)
    with db.read() as connection:
        found = read_prices(connection, prices.c.id.in_(newest))
    return PriceBook(
        {price.model: price for price in found if price.plan_id is None},
        {(price.plan_id, price.model): price for price in found if price.plan_id is not None},
    )


def read_prices(connection: sa.Connection, *wanted: sa.ColumnElement[bool]) -> list[Price]:
    """The prices that `wanted` selects, oldest first."""
    columns = [tables.prices.c[name] for name in _COLUMNS]
    query = sa.select(*columns).where(*wanted).order_by(tables.prices.c.id)
    return [Price(**{**row._mapping, "tiers": read_tiers(row.tiers)}) for row in connection.execute(query)]


_COLUMNS = [each.name for each in fields(Price)]
