"""What an answer says of its tenant's limits, and of a budget that is used up.

Sources: draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit-Policy`, `RateLimit`; Structured Fields, RFC 9651), and the
OpenAI API reference, "Rate limits in headers" (`x-ratelimit-*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airserve.protocols.encoded import Headers

BUDGET_WARNING = b"airserve-budget-warning"


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit at one moment. `unit` is requests, tokens or content-bytes; `remaining` and `quota` are in it.

    `reset_ns` is when all of it is there again; where nothing remains, when there is something.
    """

    name: str
    unit: str
    quota: int
    period_s: int
    remaining: int
    reset_ns: int


def policies(quotas: Sequence[Quota]) -> bytes:
    """`RateLimit-Policy`: every limit."""
    each_of = (
        f'"{each.name}";q={each.quota};w={each.period_s}' + ("" if each.unit == "requests" else f';qu="{each.unit}"')
        for each in quotas
    )
    return ", ".join(each_of).encode()


def state(nearest: Quota) -> bytes:
    """`RateLimit`: the limit that is nearest to its end."""
    return b'"%b";r=%d;t=%d' % (nearest.name.encode(), nearest.remaining, _seconds(nearest.reset_ns))


def openai_limit_headers(quotas: Sequence[Quota]) -> Headers:
    """The tightest limit of requests and of tokens, in the words of OpenAI's clients."""
    headers: Headers = []
    for unit in ("requests", "tokens"):
        of_unit = [each for each in quotas if each.unit == unit]
        if of_unit:
            nearest = min(of_unit, key=lambda each: each.remaining / each.quota)
            headers += [
                (f"x-ratelimit-limit-{unit}".encode(), b"%d" % nearest.quota),
                (f"x-ratelimit-remaining-{unit}".encode(), b"%d" % nearest.remaining),
                (f"x-ratelimit-reset-{unit}".encode(), _duration(nearest.reset_ns).encode()),
            ]
    return headers


def budget_headers(passed: Sequence[str]) -> Headers:
    """A list of the budgets that are used up and only warn, such as "month budget of the project"."""
    return [(BUDGET_WARNING, ", ".join(f'"{each}"' for each in passed).encode())] if passed else []


def _seconds(ns: int) -> int:
    return -(-ns // 1_000_000_000)


def _duration(ns: int) -> str:
    """As OpenAI writes it: 250ms, 1.5s, 6m0s, 2h0m3s."""
    if ns < 1_000_000_000:
        return f"{-(-ns // 1_000_000)}ms"
    seconds = _seconds(ns)
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
