"""What a call costs: immutable prices in integer nano-units, and the functions that rate a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

import sqlalchemy as sa

from airserve.core.errors import InvalidInputError
from airserve.core.generation import TokenCounts
from airserve.metering.event import INT64_MAX
from airserve.storage import tables
from airserve.storage.database import Database

NANO = 1_000_000_000
"""Nano-units in one unit of a currency, and nanoseconds in a second."""
MILLION = 1_000_000
MAX_PRICE_NANO = 1_000_000 * NANO
"""A price above a million units a call, a second or a million tokens is taken for a slip."""
EVERY_MODEL = "*"
_NO_TOKENS = TokenCounts()
_WHAT = {
    "per_call_nano": "a call",
    "per_compute_second_nano": "a second of compute",
    "per_million_input_tokens_nano": "a million input tokens",
    "per_million_cached_tokens_nano": "a million cached input tokens",
    "per_million_output_tokens_nano": "a million output tokens",
}


@dataclass(frozen=True, slots=True)
class Price:
    """One price of `model` ('*': of every model that has none), in 1e-9 of `currency`.

    It is per call, per second computed, and per million tokens: of the prompt, of the part of it that the engine had
    cached, and of the answer. A row never changes; a new price is a new row with a higher id. Id 0 is the price of what
    nobody has priced: free.
    """

    id: int
    model: str
    per_call_nano: int
    per_compute_second_nano: int
    currency: str
    per_million_input_tokens_nano: int = 0
    per_million_cached_tokens_nano: int = 0
    per_million_output_tokens_nano: int = 0


def amount_nano(price: Price, compute_ns: int, tokens: TokenCounts = _NO_TOKENS) -> int:
    """What an answered call costs that computed for `compute_ns` and used `tokens`, in 1e-9 of the price's currency.

    What is no whole nano-unit is rounded half up, once. A pure function of integers: rating an event again gives the
    same amount for ever.
    """
    if compute_ns < 0:
        raise InvalidInputError(f"compute time is 0 ns or more, not {compute_ns}")
    return _within_ledger(price, price.per_call_nano + _rounded(price, compute_ns, tokens))


def partial_amount_nano(price: Price, tokens: TokenCounts) -> int:
    """What a generation that ended early costs: its `tokens` alone, rounded as in `amount_nano`."""
    return _within_ledger(price, _rounded(price, 0, tokens))


def _rounded(price: Price, compute_ns: int, tokens: TokenCounts) -> int:
    if not 0 <= tokens.cached <= tokens.input or tokens.output < 0:
        raise InvalidInputError(f"these are no counts of tokens: {tokens}")
    of_tokens = (
        price.per_million_input_tokens_nano * (tokens.input - tokens.cached)
        + price.per_million_cached_tokens_nano * tokens.cached
        + price.per_million_output_tokens_nano * tokens.output
    )
    return (price.per_compute_second_nano * compute_ns + of_tokens * (NANO // MILLION) + NANO // 2) // NANO


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

    def of(self, model: str) -> Price:
        """The price of `model`: its own, else that of every model, else free."""
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
    now_ns: int,
    currency: str = "EUR",
) -> Price:
    """Give `model` ('*': all that have no price of their own) a new price, for calls admitted from now on.

    Each part is 0 to `MAX_PRICE_NANO`, in 1e-9 of `currency` (three capital letters, as in ISO 4217). Cached tokens
    cost what other input tokens cost where they are given no price of their own. The price before stays in the table:
    what was rated with it can be rated again.
    """
    if not model or not model.isprintable():
        raise InvalidInputError("a price is for the name of a model, or '*' for every model without one")
    if per_million_cached_tokens_nano is None:
        per_million_cached_tokens_nano = per_million_input_tokens_nano
    parts = {
        "per_call_nano": per_call_nano,
        "per_compute_second_nano": per_compute_second_nano,
        "per_million_input_tokens_nano": per_million_input_tokens_nano,
        "per_million_cached_tokens_nano": per_million_cached_tokens_nano,
        "per_million_output_tokens_nano": per_million_output_tokens_nano,
    }
    for name, nano in parts.items():
        if not 0 <= nano <= MAX_PRICE_NANO:
            raise InvalidInputError(f"the price of {_WHAT[name]} is 0 to {MAX_PRICE_NANO} nano-units, not {nano}")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidInputError(f"'{currency[:20]}' is no currency; use three capital letters such as EUR")
    with db.write() as connection:
        result = connection.execute(
            sa.insert(tables.prices).values(model=model, currency=currency, created_ns=now_ns, **parts)
        )
        (price_id,) = result.inserted_primary_key or (0,)
    return Price(price_id, model, currency=currency, **parts)


def load_prices(db: Database) -> PriceBook:
    """The prices that hold now: of each model the row with the largest id."""
    prices = tables.prices
    newest = sa.select(sa.func.max(prices.c.id)).group_by(prices.c.model)
    columns = [prices.c[field.name] for field in fields(Price)]
    query = sa.select(*columns).where(prices.c.id.in_(newest))
    with db.read() as connection:
        return PriceBook({row.model: Price(*row) for row in connection.execute(query)})
