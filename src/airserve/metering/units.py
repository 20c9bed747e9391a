"""Billable units: what is counted of a call, in which whole numbers, and per how much of it a price is."""

from __future__ import annotations

from dataclasses import dataclass

from airserve.core.errors import InvalidInputError

MILLION = 1_000_000
BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Unit:
    """A billable unit.

    Plans and tiers give quantities in it (`compute_seconds`: seconds); usage is counted in its smallest part, of which
    it has `size` (nanoseconds). `priced_per` is how much of the smallest part a price is for (a million tokens), and
    `price_field` the field of `Price` that says it.
    """

    name: str
    size: int
    priced_per: int
    price_field: str
    what: str
    """As in "the price of …"."""

    @property
    def priced_quantity(self) -> int:
        """How many of the unit its price is for: a million tokens, one of everything else."""
        return self.priced_per // self.size


CALLS = Unit("calls", 1, 1, "per_call_nano", "a call")
COMPUTE_SECONDS = Unit("compute_seconds", BILLION, BILLION, "per_compute_second_nano", "a second of compute")
INPUT_TOKENS = Unit("input_tokens", 1, MILLION, "per_million_input_tokens_nano", "a million input tokens")
"""Tokens of prompts that the engine had not cached."""
CACHED_TOKENS = Unit("cached_tokens", 1, MILLION, "per_million_cached_tokens_nano", "a million cached input tokens")
OUTPUT_TOKENS = Unit("output_tokens", 1, MILLION, "per_million_output_tokens_nano", "a million output tokens")
MEGABYTES = Unit("megabytes", MILLION, MILLION, "per_megabyte_nano", "a megabyte")
"""Bytes of requests and replies together; a megabyte has 1,000,000 of them."""

UNITS = {unit.name: unit for unit in (CALLS, COMPUTE_SECONDS, INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, MEGABYTES)}


def unit_of(name: str) -> Unit:
    """The unit with this name. Raises `InvalidInputError` naming all that there are."""
    if name not in UNITS:
        raise InvalidInputError(f"'{name[:40]}' is no billable unit; it is one of {', '.join(UNITS)}")
    return UNITS[name]


def decimal_quantity(unit: Unit, smallest: int) -> str:
    """`smallest` parts as an exact decimal of the unit: 1_500_000_000 ns are '1.5' seconds."""
    whole, rest = divmod(abs(smallest), unit.size)
    digits = f"{rest:0{len(str(unit.size)) - 1}d}".rstrip("0") if unit.size > 1 else ""
    return f"{'-' if smallest < 0 else ''}{whole}{'.' + digits if digits else ''}"
