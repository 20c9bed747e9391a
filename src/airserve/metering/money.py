"""Amounts of money as people write them, to and from integer nano-units (1e-9 of a currency). No floats."""

from __future__ import annotations

import re

from airserve.core.errors import InvalidInputError
from airserve.metering.event import INT64_MAX

_AMOUNT = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?", re.ASCII)


def amount_text(nano: int) -> str:
    """The exact amount as a decimal with two places or as many as it needs: 1_234_500_000 is '1.2345'."""
    units, fraction = divmod(abs(nano), 1_000_000_000)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{units}.{digits}"


def nano_of(text: str) -> int:
    """The nano-units of a decimal such as '0.0001'; refuses signs, exponents and more than nine places."""
    match = _AMOUNT.fullmatch(text.strip())
    nano = int(match[1]) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0")) if match else -1
    if not 0 <= nano <= INT64_MAX:
        raise InvalidInputError(f"'{text[:40]}' is no amount; write it like 0.0001, with at most nine decimal places")
    return nano
