"""What must hold of a new version for its rollout to go on: `error<0.5%, p99<1.2x, agreement>98%`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airserve.core.errors import InvalidInputError

DEFAULT = "error<0.5%, p99<1.5x, agreement>98%"
DEFAULT_OF_TEXT = "error<0.5%, p99<1.5x"
"""Whether two generated texts agree is not defined."""

_GUARD = re.compile(r"(error|p50|p90|p95|p99|agreement)\s*([<>])\s*(\d{1,6}(?:\.\d{1,6})?)\s*(%|x|ms|s)")
_HOW = "write guards like error<0.5%, p99<1.2x (or p99<50ms), agreement>98%"


@dataclass(frozen=True, slots=True)
class Guard:
    """One of them. `kind` is error, latency or agreement; `text` is as it is written.

    A guard asks how often something bad happens: a call fails, takes too long, is answered otherwise than by the old
    version. `limit` is the share of calls, 0 to 1, that may be bad. Too long is, for latency, `times` the old version's
    percentile, or `longest_ns` nanoseconds.
    """

    text: str
    kind: str
    limit: float
    times: float | None = None
    longest_ns: int | None = None


def parse_guards(text: str) -> tuple[Guard, ...]:
    """The guards of a list with commas between. Raises `InvalidInputError`."""
    guards = [_guard(each.strip()) for each in text.split(",") if each.strip()]
    if not guards:
        raise InvalidInputError(f"a rollout without a guard would be judged by nobody; {_HOW}")
    kinds = [guard.kind for guard in guards]
    if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
        raise InvalidInputError(f"one guard for each kind is enough; there are two of {', '.join(sorted(twice))}")
    return tuple(guards)


def _guard(text: str) -> Guard:
    match = _GUARD.fullmatch(text)
    if match is None:
        raise InvalidInputError(f"'{text[:40]}' is no guard; {_HOW}")
    name, sign, number, unit = match.groups()
    value = float(number)
    canonical = f"{name}{sign}{number}{unit}"
    if (sign == ">") != (name == "agreement"):
        raise InvalidInputError(f"'{text[:40]}' points the wrong way; {_HOW}")
    if name in ("error", "agreement"):
        if unit != "%" or not 0 < value < 100:
            raise InvalidInputError(f"'{text[:40]}' is no share between 0% and 100%, both excluded; {_HOW}")
        share = value / 100
        return Guard(canonical, name, share if name == "error" else 1 - share)
    if unit == "%" or value <= 0:
        raise InvalidInputError(f"'{text[:40]}' is no length of time, nor a multiple of the old version's; {_HOW}")
    limit = 1 - int(name[1:]) / 100
    if unit == "x":
        return Guard(canonical, "latency", limit, times=value)
    return Guard(canonical, "latency", limit, longest_ns=int(value * (1e6 if unit == "ms" else 1e9)))
