from __future__ import annotations

from airserve.core.call import Reply, Timings
from airserve.core.errors import (
    AirserveError,
    CancelledError,
    DeadlineExceededError,
    InvalidInputError,
    ModelFailedError,
    OverloadedError,
)
from airserve.models.rollout.guards import parse_guards
from airserve.serving.rollout.watch import RolloutWatch

OK = Reply("m", "2", {}, Timings(1, 1, 1))
FROM_MEMORY = Reply("m", "2", {}, Timings(0, 0, 0))
MS = 1_000_000


class Watched:
    """A watch over calls that end a step of a clock apart."""

    def __init__(self, guard: str, old_ns: int = 0) -> None:
        self.now_ns = self.woken = 0
        self.watch = RolloutWatch(parse_guards(guard)[0], self._wake, old_ns, lambda: self.now_ns)

    def _wake(self) -> None:
        self.woken += 1

    def old(self, durations_ms: list[float], apart_ms: float = 20) -> None:
        for duration in durations_ms:
            self.now_ns += int(apart_ms * MS)
            self.watch.old(int(duration * MS), OK)

    def new(self, durations_ms: list[float], apart_ms: float = 20) -> None:
        for duration in durations_ms:
            self.now_ns += int(apart_ms * MS)
            self.watch.new(int(duration * MS), OK)


def test_the_new_version_is_held_against_the_old_ones_percentile() -> None:
    watched = Watched("p50<2x")
    watched.old([1, 2, 3] * 70)
    watched.watch.reckon()
    # The median is 2 ms, so more than 4 is slow.
    assert watched.watch.counts.old_ns == 4 * MS
    watched.new([3.9, 4, 4.1, 9])
    assert (watched.watch.counts.timed, watched.watch.counts.slow) == (4, 2)


def test_nothing_is_held_against_a_percentile_that_is_not_known_yet() -> None:
    watched = Watched("p99<2x")
    watched.old([1] * 199)
    watched.watch.reckon()
    watched.new([1_000] * 5)
    assert watched.watch.counts.timed == 0
    watched.old([1])
    watched.watch.reckon()
    watched.new([1_000] * 5)
    assert (watched.watch.counts.timed, watched.watch.counts.slow) == (5, 5)


def test_after_a_restart_it_goes_on_with_what_was_known() -> None:
    watched = Watched("p99<2x", old_ns=3 * MS)
    watched.new([2.9, 3.1])
    assert watched.watch.counts.slow == 1


def test_a_length_of_time_needs_no_old_version() -> None:
    watched = Watched("p99<50ms")
    watched.new([49, 51])
    assert (watched.watch.counts.timed, watched.watch.counts.slow) == (2, 1)


def test_a_pause_that_makes_many_calls_late_is_one_accident() -> None:
    watched = Watched("p99<50ms")
    watched.new([1] * 10)
    watched.new([80] * 500, apart_ms=0.01)
    assert watched.watch.counts.calls == 510
    assert watched.watch.counts.slow <= 1


def test_faults_are_the_services_and_never_what_a_client_did() -> None:
    watched = Watched("error<1%")
    faults: list[AirserveError] = [ModelFailedError("x"), OverloadedError("x"), DeadlineExceededError("x")]
    for error in (*faults, InvalidInputError("x"), CancelledError("x")):
        watched.watch.old(1, error)
        watched.watch.new(1, error)
    counts = watched.watch.counts
    assert (counts.calls, counts.failed, counts.old_calls, counts.old_failed) == (5, 3, 5, 3)
    # What the new one fails is looked at without delay.
    assert watched.woken == 3


def test_answers_from_memory_say_nothing_of_a_version() -> None:
    watched = Watched("p99<50ms")
    watched.watch.new(1, FROM_MEMORY)
    watched.watch.old(1, FROM_MEMORY)
    assert (watched.watch.counts.calls, watched.watch.counts.old_calls) == (0, 0)
