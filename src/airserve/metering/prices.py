"""What a call costs: immutable prices in integer nano-units, and the one function that rates a call."""

from __future__ import annotations

from dataclasses import dataclass

from airserve.core.errors import InvalidInputError
from airserve.metering.event import INT64_MAX

NANO = 1_000_000_000
"""Nano-units in one unit of a currency, and nanoseconds in a second."""


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
