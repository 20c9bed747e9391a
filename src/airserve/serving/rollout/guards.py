"""What the counts of a rollout say of its guards: one has failed, or a step may be taken, or more calls are needed.

A guard fails when it is sure that more calls are bad than it allows. A step is taken when every guard is sure that it
would have noticed three times as many. Both hold however often one looks (`sequential.py`): a version that is
within its guards is rolled back with a probability of at most 5 %, all guards and stages of the rollout together, and
one that is bad three times as often as a guard allows passes a stage of it with at most 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from airserve.models.rollout.counts import Counts
from airserve.models.rollout.guards import Guard
from airserve.models.rollout.rollouts import Rollout
from airserve.serving.rollout import sequential

ERROR_OF_ALL = 0.05
"""How likely a version that is within all guards is rolled back all the same, and a bad one passes a stage."""

NOTICED = 3.0
"""So many times its limit must a guard be sure to have noticed before a step is taken."""


class Figures(msgspec.Struct, frozen=True):
    """A guard in numbers: of `count` calls `bad` were, so the rate is within `low` and `high`; `limit` is allowed.

    `state` is failed, passed or waiting; `missing` is how many more calls it needs, if none of them is bad.
    """

    guard: str
    state: str
    bad: int
    count: int
    low: float
    high: float
    limit: float
    missing: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guard on its counts."""

    guard: Guard
    bad: int
    count: int
    alpha: float

    @property
    def failed(self) -> bool:
        """Whether more calls are bad than the guard allows."""
        return sequential.is_above(self.bad, self.count, self.guard.limit, self.alpha)

    @property
    def passed(self) -> bool:
        """Whether there were enough calls to have noticed a version that is clearly worse than allowed."""
        return sequential.is_below(self.bad, self.count, self._noticed, ERROR_OF_ALL)

    @property
    def _noticed(self) -> float:
        limit = self.guard.limit
        return min(NOTICED * limit, limit + (1 - limit) / 2)

    def figures(self) -> Figures:
        """The verdict in numbers."""
        failed = self.failed
        return Figures(
            guard=self.guard.text,
            state="failed" if failed else "passed" if self.passed else "waiting",
            bad=self.bad,
            count=self.count,
            low=sequential.lower_bound(self.bad, self.count, self.alpha),
            high=sequential.upper_bound(self.bad, self.count, self.alpha),
            limit=self.guard.limit,
            missing=0 if failed else sequential.samples_until_below(self.bad, self.count, self._noticed, ERROR_OF_ALL),
        )

    def sentence(self) -> str:
        """Why it failed."""
        what = {"error": "calls failed", "latency": "calls took too long", "agreement": "answers were other ones"}
        figures = self.figures()
        return (
            f"{self.guard.text}: {self.bad} of {self.count} {what[self.guard.kind]}, which is surely more than "
            f"{100 * figures.low:.3g} %, and {100 * self.guard.limit:.3g} % may"
        )


def judge(rollout: Rollout, counts: Counts, before: Counts) -> Sequence[Verdict]:
    """Each guard that can be judged in this stage, on its `counts`; `before` are those of all stages up to this one.

    In the shadow nobody waits for the new version, so how long it takes says nothing.
    """
    guards = rollout.parsed
    alpha = ERROR_OF_ALL / (len(guards) * (len(rollout.steps) + 1))
    return [
        Verdict(guard, *_bad_of(guard, rollout, counts, before), alpha)
        for guard in guards
        if rollout.stage or guard.kind != "latency"
    ]


def _bad_of(guard: Guard, rollout: Rollout, counts: Counts, before: Counts) -> tuple[int, int]:
    if guard.kind == "agreement":
        return counts.disagreed, counts.compared
    if guard.kind == "latency":
        return counts.slow, counts.timed
    # In the shadow the old version has answered every call that is copied.
    own = counts.failed - (_expected(before, counts.calls) if rollout.stage else 0)
    return max(0, own), counts.calls


def _expected(before: Counts, calls: int) -> int:
    """How many of `calls` would fail with the old version too, and by chance: that is not the new one's fault.

    Deadlines that nobody can meet and inputs that no version takes fail everywhere; so does all while a disk is full.
    """
    if not before.old_failed:
        return 0
    mean = calls * before.old_failed / before.old_calls
    return int(mean + 2 * math.sqrt(mean))
