"""Quantities as people write them on the command line: 1%, 5ms, 10MB."""

from __future__ import annotations

import math

from airserve.core.errors import InvalidInputError

_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1000.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def share_of(option: str, text: str) -> float:
    """A share from 0 to 1: `1%` or `0.01`. Raises `InvalidInputError` that names the option."""
    share = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= share <= 1:
        raise InvalidInputError(f"{option} is a share such as 1% or 0.01, not '{text[:20]}'")
    return share


def milliseconds_of(option: str, text: str) -> float:
    """A time: `5ms`, `0.2s`, `800us`. Raises `InvalidInputError` that names the option."""
    unit = next((each for each in _MS if text.strip().endswith(each)), "")
    value = _number(text.strip().removesuffix(unit)) * _MS.get(unit, math.nan)
    if not value > 0:
        raise InvalidInputError(f"{option} is a time such as 5ms or 0.2s, not '{text[:20]}'")
    return value


def bytes_of(option: str, text: str) -> int:
    """A size: `10MB`, `500KB`, `64MiB`. Raises `InvalidInputError` that names the option."""
    given = text.strip().upper()
    unit = next((each for each in sorted(_BYTES, key=len, reverse=True) if given.endswith(each)), "")
    value = _number(given.removesuffix(unit)) * _BYTES.get(unit, math.nan)
    if not value >= 1:
        raise InvalidInputError(f"{option} is a size such as 10MB or 64MiB, not '{text[:20]}'")
    return int(value)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
