"""Times as the operator writes them: lengths such as 12h, days such as 2026-01-31."""

from __future__ import annotations

import datetime as dt
import re

from airserve.core.errors import InvalidInputError

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def length_ns(text: str) -> int:
    """The nanoseconds of a length of time. Raises `InvalidInputError`."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise InvalidInputError(f"'{text[:20]}' is no length of time; use 90s, 15m, 12h or 30d")
    return int(match[1]) * _UNIT_S[match[2]] * 10**9


def day_ns(text: str) -> int:
    """The moment, in UTC nanoseconds, at which a day begins in UTC. Raises `InvalidInputError`."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"'{text[:20]}' is no day; write it like 2026-01-31") from None
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()) * 10**9


def start_ns(day: str | None, now_ns: int) -> int:
    """When what is to hold from `day` on begins: now for today and without a day, else when the day begins."""
    if day is None:
        return now_ns
    begins_ns = day_ns(day)
    today = begins_ns <= now_ns < begins_ns + 86_400 * 10**9
    return now_ns if today else begins_ns
