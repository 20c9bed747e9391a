"""Tiers: from a quantity on within a month, the next part costs less. Written in a price as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from airserve.core.errors import InvalidInputError
from airserve.metering.units import Unit, unit_of


class Step(NamedTuple):
    """What is used beyond `from_quantity` (whole units, such as calls or compute seconds) costs `price_nano`."""

    from_quantity: int
    price_nano: int


Tiers = dict[str, tuple[Step, ...]]
"""By name of the unit. The first tier, from 0 on, is the price's own field."""
NO_TIERS = "{}"
MAX_QUANTITY = 10**15

_decoder = msgspec.json.Decoder(dict[str, tuple[Step, ...]])


def read_tiers(text: str) -> Tiers:
    """The inverse of `tiers_text`; raises `msgspec.MsgspecError` for what it did not write."""
    return {} if text == NO_TIERS else _decoder.decode(text)


def tiers_text(tiers: Mapping[str, Sequence[Step]]) -> str:
    """As the table `prices` keeps them, the same text for the same tiers."""
    return msgspec.json.encode({unit: [list(step) for step in tiers[unit]] for unit in sorted(tiers)}).decode()


def checked_tiers(tiers: Mapping[str, Sequence[Step]], first_price: Mapping[str, int]) -> Tiers:
    """The tiers, if quantities rise and prices do not; `first_price` is that of the first tier, by unit.

    A price that rose would make a call dearer than what was set aside for it when it was admitted.
    """
    checked: Tiers = {}
    for name, steps in tiers.items():
        unit_of(name)
        quantity, price = 0, first_price[name]
        for step in steps:
            if not quantity < step.from_quantity <= MAX_QUANTITY:
                raise InvalidInputError(
                    f"the tiers of {name} begin at quantities that rise from 1 to {MAX_QUANTITY}; "
                    f"{step.from_quantity} comes after {quantity}"
                )
            if not 0 <= step.price_nano <= price:
                raise InvalidInputError(
                    f"the price of a later tier is 0 or more and no higher than the one before it; for {name} from "
                    f"{step.from_quantity} on {step.price_nano} nano-units come after {price}"
                )
            quantity, price = step
        if steps:
            checked[name] = tuple(Step(*step) for step in steps)
    return dict(sorted(checked.items()))


def cost_of_first(unit: Unit, first_price: int, steps: Sequence[Step], quantity: int) -> int:
    """What the first `quantity` smallest parts of a month cost, times `unit.priced_per`: exact, no rounding.

    The cost of what lies between two quantities is the difference of two such numbers, so that however usage is split,
    the parts add up to the whole.
    """
    total, start, price = 0, 0, first_price
    for step in steps:
        begin = step.from_quantity * unit.size
        if quantity <= begin:
            break
        total += price * (begin - start)
        start, price = begin, step.price_nano
    return total + price * (quantity - start)
