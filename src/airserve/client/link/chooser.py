"""Which plan to take: the best under the deadline and the accuracy floor, not changed for little, explored a little."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from airserve.client.link.plan import Choice, Option, Plan
from airserve.core.errors import InvalidInputError

Prefer = Literal["latency", "bytes", "energy"]
DEFAULT_FLOOR = 0.99
"""Without a floor of the caller's own, at most one answer in a hundred may be worse for a plan."""

HYSTERESIS = 0.03
EXPLORED = 0.015
# Where times are as good as equal, the more accurate plan is taken.
_EQUAL_S = 0.0005
_CRITICAL = 0.7
_USUAL = 0.75
_WORTH_EXPLORING = 2.0


class Chooser:
    """Chooses and explores; `seed` makes what it explores repeatable, `explore` is the share of such calls."""

    def __init__(self, seed: int | None = None, explore: float = EXPLORED) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._explore = explore

    def choose(
        self,
        options: Sequence[Option],
        *,
        floor: float | None = None,
        deadline_s: float | None = None,
        prefer: Prefer = "latency",
        last: Plan | None = None,
    ) -> Choice:
        """The best option at or above `floor`. Raises `InvalidInputError` where there is none.

        Of those expected in time even at the 95th percentile the best by `prefer`; where none is, the fastest. The
        plan taken `last` stays unless another is better by a thirtieth.
        """
        allowed = [each for each in options if reaches(each.accuracy, floor)]
        if not allowed:
            raise InvalidInputError(f"no place and codec reaches the accuracy floor {floor}; lower it")
        timely = [each for each in allowed if deadline_s is None or each.prediction.p95_s <= deadline_s]
        wanted: Prefer = prefer if timely else "latency"
        pool = timely or allowed
        urgent = deadline_s is not None
        best = min(pool, key=lambda each: (_score(each, wanted, urgent=urgent), -(each.accuracy or 0.0)))
        limit = _score(best, wanted, urgent=urgent) * (1 + HYSTERESIS) + _EQUAL_S
        for each in pool:
            if each.plan == last and _score(each, wanted, urgent=urgent) <= limit:
                best = each
        in_time = bool(timely)
        if other := self._explored(best, pool, deadline_s):
            return Choice(other, tuple(options), explored=True, in_time=in_time)
        return Choice(best, tuple(options), in_time=in_time)

    def _explored(self, best: Option, pool: Sequence[Option], deadline_s: float | None) -> Option | None:
        """Now and then another plan, so that what is known of it does not grow old; never when time is short."""
        if self._random.random() >= self._explore:
            return None
        if deadline_s is not None and best.prediction.p95_s > _CRITICAL * deadline_s:
            return None
        limit = _WORTH_EXPLORING * best.prediction.p95_s
        others = [each for each in pool if each is not best and each.prediction.p95_s <= limit]
        return self._random.choice(others) if others else None


def reaches(accuracy: float | None, floor: float | None) -> bool:
    """Whether a plan of this accuracy may be taken; what nobody measured reaches no floor."""
    return accuracy is not None and accuracy >= (DEFAULT_FLOOR if floor is None else floor) - 1e-9


def _score(option: Option, prefer: Prefer, *, urgent: bool) -> float:
    """What is to be small. Under a deadline nearly every call counts, else about what a call takes in the mean."""
    said = option.prediction
    if prefer == "bytes":
        return said.up_bytes
    if prefer == "energy":
        return said.joules
    return said.p95_s if urgent else _USUAL * said.p50_s + (1 - _USUAL) * said.p95_s
