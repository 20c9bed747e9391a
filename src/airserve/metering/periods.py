"""Billing periods: months in UTC, written '2026-01'. A call belongs to the one in which it was admitted."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

from airserve.core.errors import InvalidInputError

DAY_NS = 86_400 * 1_000_000_000
_EPOCH = dt.date(1970, 1, 1)
_PERIOD = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


def period_of(admitted_ns: int) -> str:
    """The month of a moment in UTC nanoseconds. Leap seconds do not exist in this time, and no time zone is asked."""
    return _period_of_day(admitted_ns // DAY_NS)


@lru_cache(maxsize=512)
def _period_of_day(day: int) -> str:
    date = _EPOCH + dt.timedelta(days=day)
    return f"{date.year:04d}-{date.month:02d}"


def bounds_ns(period: str) -> tuple[int, int]:
    """The first nanosecond of `period`, and the first of the next one."""
    first, after = _first_day(period), _first_day(next_period(period))
    return (first - _EPOCH).days * DAY_NS, (after - _EPOCH).days * DAY_NS


def next_period(period: str) -> str:
    """The month after `period`."""
    first = _first_day(period)
    return f"{first.year + first.month // 12:04d}-{first.month % 12 + 1:02d}"


def check_period(period: str) -> str:
    """`period`, if it is one. Raises `InvalidInputError`."""
    _first_day(period)
    return period


def _first_day(period: str) -> dt.date:
    match = _PERIOD.fullmatch(period)
    if match is None or not 1970 <= int(match[1]) <= 2250:
        raise InvalidInputError(f"'{period[:20]}' is no billing period; write it like 2026-01")
    return dt.date(int(match[1]), int(match[2]), 1)
