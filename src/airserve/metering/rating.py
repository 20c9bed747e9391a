"""Rating: what a month of one tenant costs, from what was used. A pure function of integers.

Where it rounds: to whole nano-units, half up, of *cumulated* costs (see `tiers.cost_of_first`), so that a line is the
difference of two rounded totals and lines add up exactly however usage is split over projects, prices and tiers.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airserve.metering.prices import Price, first_price_nano
from airserve.metering.tiers import Step, cost_of_first
from airserve.metering.units import MILLION, UNITS, Unit


class LineKind(enum.Enum):
    """Why a line is on an invoice."""

    USAGE = "usage"
    """What a project used of a model, in one unit, at the price of the first tier."""
    CHARGED = "charged"
    """Calls that were charged another amount than their price: the most that a strict budget had set aside."""
    CALL_ROUNDING = "call_rounding"
    """Each call was charged in whole nano-units; what that differs from the month's exact sum."""
    TIER = "tier"
    """What later tiers cost less."""
    FREE = "free"
    """What the plan includes."""
    DISCOUNT = "discount"
    """For a commitment."""
    COMMITMENT = "commitment"
    """What was committed and not used."""
    MINIMUM = "minimum"
    """Up to the least that a month costs."""
    MINOR_ROUNDING = "minor_rounding"
    """From nano-units to cents; the ledger keeps it in an account of its own."""


FROM_USAGE = (LineKind.USAGE, LineKind.CHARGED, LineKind.CALL_ROUNDING)
"""Kinds that together are what the ledger was told of single calls; the others are posted with the invoice."""


@dataclass(frozen=True, slots=True)
class Used:
    """What calls of a project used of a model at one price: `quantity` in the smallest part of the unit."""

    project_id: str
    model: str
    price_id: int
    unit: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Charged:
    """`calls` that were charged `amount_nano`, which is not what their price says."""

    project_id: str
    model: str
    price_id: int
    calls: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class MonthlyTerms:
    """What a plan says of a whole month. `free` is by unit, in whole units; the discount is in millionths."""

    currency: str = "EUR"
    free: Mapping[str, int] = field(default_factory=dict)
    minimum_nano: int = 0
    commitment_nano: int = 0
    discount_ppm: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One amount, in nano-units, and what it is for; `quantity` is in the smallest part of `unit`."""

    kind: LineKind
    amount_nano: int
    project_id: str = ""
    model: str = ""
    unit: str = ""
    price_id: int = 0
    quantity: int = 0


def rate(
    used: Iterable[Used],
    charged: Iterable[Charged],
    calls_nano: int,
    prices: Mapping[int, Price],
    terms: MonthlyTerms,
) -> list[Line]:
    """The lines of one tenant's month in one currency; the same input gives the same lines in the same order.

    `calls_nano` is the sum of what the calls behind `used` were charged one by one. Tiers count a model's quantity in
    the month over all projects and, if its price changed, over all its prices, the older first. The free allowance is
    taken from the dearest models first. A discount is on everything used; commitment and minimum fill up what is left.
    """
    segments = _segments(used)
    lines: list[Line] = []
    tiers: dict[tuple[str, str], int] = defaultdict(int)
    for (unit_name, model, price_id), (start, parts) in segments.items():
        unit, price = UNITS[unit_name], prices[price_id]
        first, steps = first_price_nano(price, unit_name), price.tiers.get(unit_name, ())
        at = start
        for project_id, quantity in parts:
            amount = _between(unit, first, (), at, at + quantity)
            at += quantity
            if first:
                lines.append(Line(LineKind.USAGE, amount, project_id, model, unit_name, price_id, quantity))
        tiers[model, unit_name] += _between(unit, first, steps, start, at) - _between(unit, first, (), start, at)
    lines.sort(key=lambda line: (line.project_id, line.model, list(UNITS).index(line.unit), line.price_id))
    exact = sum(line.amount_nano for line in lines)
    lines += [
        Line(LineKind.CHARGED, each.amount_nano, each.project_id, each.model, "calls", each.price_id, each.calls)
        for each in sorted(charged, key=lambda each: (each.project_id, each.model, each.price_id))
    ]
    lines.append(Line(LineKind.CALL_ROUNDING, calls_nano - exact))
    lines += [Line(LineKind.TIER, amount, "", *key) for key, amount in sorted(tiers.items())]
    lines += _free(segments, prices, terms)
    lines += _of_the_month(sum(line.amount_nano for line in lines), terms)
    return [line for line in lines if line.amount_nano or line.kind is LineKind.USAGE]


_Key = tuple[str, str, int]
"""Unit, model, price id."""
_Segment = tuple[int, list[tuple[str, int]]]
"""The quantity at which it begins, and the quantity of each project in it."""


def _segments(used: Iterable[Used]) -> dict[_Key, _Segment]:
    """Usage of each unit, model and price as one stretch of the month's quantity, prices in the order of their ids."""
    quantities: dict[_Key, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in used:
        if each.quantity:
            quantities[each.unit, each.model, each.price_id][each.project_id] += each.quantity
    segments: dict[_Key, _Segment] = {}
    at: dict[tuple[str, str], int] = defaultdict(int)
    for key in sorted(quantities):
        parts = sorted(quantities[key].items())
        segments[key] = (at[key[:2]], parts)
        at[key[:2]] += sum(quantity for _, quantity in parts)
    return segments


def _free(segments: Mapping[_Key, _Segment], prices: Mapping[int, Price], terms: MonthlyTerms) -> list[Line]:
    lines = []
    for name, unit in UNITS.items():
        left = terms.free.get(name, 0) * unit.size
        taken, amount = 0, 0
        of_unit = [(key, segment) for key, segment in segments.items() if key[0] == name]
        of_unit.sort(key=lambda each: (-first_price_nano(prices[each[0][2]], name), each[0]))
        for (_, _, price_id), (start, parts) in of_unit:
            price = prices[price_id]
            part = min(left, sum(quantity for _, quantity in parts))
            steps = price.tiers.get(name, ())
            amount += _between(unit, first_price_nano(price, name), steps, start, start + part)
            taken, left = taken + part, left - part
        lines.append(Line(LineKind.FREE, -amount, unit=name, quantity=taken))
    return lines


def _of_the_month(used_nano: int, terms: MonthlyTerms) -> list[Line]:
    discount = (used_nano * terms.discount_ppm + MILLION // 2) // MILLION
    commitment = max(0, terms.commitment_nano - (used_nano - discount))
    minimum = max(0, terms.minimum_nano - (used_nano - discount + commitment))
    return [
        Line(LineKind.DISCOUNT, -discount),
        Line(LineKind.COMMITMENT, commitment),
        Line(LineKind.MINIMUM, minimum),
    ]


def _between(unit: Unit, first: int, steps: tuple[Step, ...], start: int, end: int) -> int:
    """What the quantity from `start` to `end` costs, as the difference of two totals rounded half up."""
    rounded = [(cost_of_first(unit, first, steps, at) + unit.priced_per // 2) // unit.priced_per for at in (start, end)]
    return rounded[1] - rounded[0]
