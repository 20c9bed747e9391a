"""From rated lines to those of a document: what is new since earlier invoices, in words, with cents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from airserve.metering.currencies import minor_of, nano_per_minor
from airserve.metering.invoices.document import DocumentLine
from airserve.metering.prices import Price, first_price_nano
from airserve.metering.rating import Line, LineKind
from airserve.metering.units import UNITS, decimal_quantity

_UNIT_WORDS = {
    "calls": "calls",
    "compute_seconds": "seconds of compute",
    "input_tokens": "input tokens",
    "cached_tokens": "cached input tokens",
    "output_tokens": "output tokens",
    "megabytes": "megabytes",
}


def not_yet_billed(rated: Iterable[Line], billed: Iterable[Line]) -> list[Line]:
    """What `rated` lines of a month have that `billed` ones, of earlier invoices, have not; in the order of `rated`.

    So what came late is billed once, with all that follows from it: a tier reached, an allowance used up.
    """
    order: dict[tuple[object, ...], Line] = {}
    sums: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0])
    for sign, lines in ((1, rated), (-1, billed)):
        for line in lines:
            key = (line.kind, line.project_id, line.model, line.unit, line.price_id)
            order.setdefault(key, line)
            sums[key][0] += sign * line.quantity
            sums[key][1] += sign * line.amount_nano
    new = [replace(order[key], quantity=quantity, amount_nano=nano) for key, (quantity, nano) in sums.items()]
    return [line for line in new if line.quantity or line.amount_nano]


def document_line(
    line: Line, service_period: str, currency: str, prices: Mapping[int, Price], projects: Mapping[str, str]
) -> DocumentLine:
    """A rated line in words; its amount in minor units is rounded here, once."""
    unit = UNITS.get(line.unit)
    price = prices.get(line.price_id) if line.kind is LineKind.USAGE else None
    return DocumentLine(
        kind=line.kind.value,
        description=_description(line),
        service_period=service_period,
        amount_nano=line.amount_nano,
        amount_minor=minor_of(line.amount_nano, currency),
        project_id=line.project_id,
        project=projects.get(line.project_id, line.project_id),
        model=line.model,
        unit=line.unit,
        quantity=decimal_quantity(unit, line.quantity) if unit and line.quantity else "",
        quantity_smallest=line.quantity,
        price_id=line.price_id,
        price_nano=first_price_nano(price, line.unit) if price else 0,
        price_per=unit.priced_quantity if unit and price else 0,
    )


def rounded_to_minor(lines: Iterable[DocumentLine], period: str, currency: str) -> list[DocumentLine]:
    """The lines, and one that makes their sum in minor units the rounded sum of their exact amounts.

    The line holds both what the cents of the lines differ from the rounded sum (often nothing), and what the rounded
    sum differs from the exact one, which the ledger keeps in an account of its own.
    """
    lines = list(lines)
    exact = sum(line.amount_nano for line in lines)
    net_minor = minor_of(exact, currency)
    nano = net_minor * nano_per_minor(currency) - exact
    minor = net_minor - sum(line.amount_minor for line in lines)
    if nano or minor:
        kind = LineKind.MINOR_ROUNDING
        lines.append(DocumentLine(kind.value, _description(Line(kind, nano)), period, nano, minor))
    return lines


def _description(line: Line) -> str:
    words = _UNIT_WORDS.get(line.unit, line.unit)
    return {
        LineKind.USAGE: f"{line.model}: {words}",
        LineKind.CHARGED: f"{line.model}: calls at the most their budget had set aside",
        LineKind.CALL_ROUNDING: "Rounding of single calls",
        LineKind.TIER: f"{line.model}: lower price of later {words}",
        LineKind.FREE: f"Included in the plan: {words}",
        LineKind.DISCOUNT: "Discount for commitment",
        LineKind.COMMITMENT: "Commitment not used",
        LineKind.MINIMUM: "Up to the monthly minimum",
        LineKind.MINOR_ROUNDING: "Rounding",
    }[line.kind]
