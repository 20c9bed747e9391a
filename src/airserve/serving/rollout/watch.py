"""Counts the calls of the two versions of a rollout as they end: failed or not, and how long they took.

A pause of the process, or of the machine, makes all calls late that fall into it, of whichever version. They are one
accident and no sample of many. So of each version one call in 20 ms is timed, the first.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from airserve.core.call import Reply
from airserve.core.errors import AirserveError
from airserve.models.rollout.counts import Counts
from airserve.models.rollout.guards import Guard

_APART_NS = 20_000_000
_KEPT = 2_000
_ENOUGH = 200
"""So many times of the old version must be known before the new one's are held against them."""

_SURE = 1.64
"""Standard deviations: the percentile is taken where it surely is not below, with 95 %."""


class Thinned:
    """Lets one call in 20 ms through."""

    def __init__(self) -> None:
        self._next_ns = 0

    def takes(self, now_ns: int) -> bool:
        """Whether a call that ends now is timed."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + _APART_NS
        return True


class RolloutWatch:
    """What `Statistics.watch` of the two versions tells. `counts` is written to, and is replaced with the stage.

    Each method is called under the lock of its version's deployment; they share no field. `wake` is called when a call
    fails, `guard` is the one for latency, and `old_ns` what calls were held against before this process began.
    """

    def __init__(
        self,
        guard: Guard | None,
        wake: Callable[[], None],
        old_ns: int = 0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counts = Counts()
        self._guard = guard
        self._wake = wake
        self._clock = clock
        self._of_old, self._of_new = Thinned(), Thinned()
        self._times: deque[int] = deque(maxlen=_KEPT)
        self._longest_ns = old_ns
        if guard is not None and guard.longest_ns is not None:
            self._longest_ns = guard.longest_ns

    def old(self, duration_ns: int, result: Reply | AirserveError) -> None:
        """A call of the old version has ended."""
        if _from_memory(result):
            return
        self.counts.old_calls += 1
        if _fault(result):
            self.counts.old_failed += 1
        elif self._of_old.takes(self._clock()):
            self._times.append(duration_ns)

    def new(self, duration_ns: int, result: Reply | AirserveError) -> None:
        """A call of the new version has ended."""
        if _from_memory(result):
            return
        self.counts.calls += 1
        if _fault(result):
            self.counts.failed += 1
            self._wake()
        elif self._longest_ns and self._of_new.takes(self._clock()):
            self.counts.timed += 1
            self.counts.slow += duration_ns > self._longest_ns

    def reckon(self) -> None:
        """Say anew what the new version is held against; not under a lock."""
        guard = self._guard
        if guard is None or guard.times is None:
            return
        times = sorted(self._times.copy())
        if len(times) < _ENOUGH:
            return
        share = 1 - guard.limit
        rank = len(times) * share + _SURE * math.sqrt(len(times) * share * guard.limit)
        self._longest_ns = int(guard.times * times[min(math.ceil(rank), len(times)) - 1])
        self.counts.old_ns = self._longest_ns


def _from_memory(result: Reply | AirserveError) -> bool:
    """Answers that were there before say nothing of a version."""
    return isinstance(result, Reply) and not result.timings.batch_rows


def _fault(result: Reply | AirserveError) -> bool:
    """Whether the service, not the client, is why a call got no answer: failed, lost, refused by the queue, late."""
    return isinstance(result, AirserveError) and result.http_status >= 500
