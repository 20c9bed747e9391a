from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.errors import DeadlineExceededError, OverloadedError
from airserve.serving.curve import ServiceCurve
from airserve.serving.scheduler import Scheduler
from tests.serving.test_queue import Waiter

MS = 1_000_000
HOUR = 3600 * 1000 * MS


def batchable() -> ServiceCurve:
    """10 ms a batch and 0.1 ms a row."""
    curve = ServiceCurve()
    for rows in (1, 2, 4, 8, 16, 32):
        curve.observe(rows, 10 * MS + rows * MS // 10)
    return curve


def scheduler(capacity: int = 100, workers: int = 1) -> Scheduler[Waiter]:
    return Scheduler(capacity=capacity, max_rows=32, workers=workers, curve=batchable())


def test_an_idle_deployment_starts_at_once() -> None:
    idle = scheduler()
    idle.offer(Waiter(deadline_ns=HOUR), 0)
    assert idle.wait_until_ns(0) <= 0
    assert idle.start(0).rows == 1


def test_after_a_large_batch_a_lonely_call_waits_for_the_others_but_not_longer_than_half_a_batch() -> None:
    busy = scheduler()
    for _ in range(16):
        busy.offer(Waiter(deadline_ns=HOUR), 0)
    batch = busy.start(0)
    busy.finished(batch, 12 * MS, 12 * MS)
    busy.offer(Waiter(deadline_ns=HOUR), 12 * MS)
    until = busy.wait_until_ns(12 * MS)
    assert 12 * MS < until <= 18 * MS
    for _ in range(15):
        busy.offer(Waiter(deadline_ns=HOUR), 13 * MS)
    assert busy.wait_until_ns(13 * MS) <= 13 * MS


def test_waiting_for_others_ends_where_the_earliest_deadline_needs_the_start() -> None:
    busy = scheduler()
    for _ in range(16):
        busy.offer(Waiter(deadline_ns=HOUR), 0)
    busy.finished(busy.start(0), 12 * MS, 12 * MS)
    busy.offer(Waiter(deadline_ns=12 * MS + 13 * MS), 12 * MS)
    latest = 25 * MS - busy.curve.predict(1)
    assert busy.wait_until_ns(12 * MS) <= latest


def test_one_connection_never_waits() -> None:
    single = scheduler()
    for step in range(5):
        now = step * 20 * MS
        single.offer(Waiter(deadline_ns=HOUR), now)
        assert single.wait_until_ns(now) <= now
        single.finished(single.start(now), now + 10 * MS, 10 * MS)


def test_a_deadline_that_the_queue_ahead_makes_impossible_is_refused_early_with_the_time_to_come_back() -> None:
    busy = scheduler()
    for _ in range(64):
        busy.offer(Waiter(deadline_ns=HOUR), 0)
    busy.start(0)
    with pytest.raises(OverloadedError, match="more time") as refusal:
        busy.offer(Waiter(deadline_ns=15 * MS), 0)
    assert refusal.value.retry_after is not None
    assert 0 < refusal.value.retry_after < 1


def test_a_deadline_in_the_past_is_told_apart_from_load() -> None:
    with pytest.raises(DeadlineExceededError):
        scheduler().offer(Waiter(deadline_ns=5), 10)


def test_a_full_queue_refuses() -> None:
    small = scheduler(capacity=2)
    small.offer(Waiter(), 0)
    small.offer(Waiter(), 0)
    with pytest.raises(OverloadedError, match="maximum queue size: 2"):
        small.offer(Waiter(), 0)


def test_what_runs_counts_only_for_what_is_left_of_it() -> None:
    busy = scheduler()
    busy.offer(Waiter(deadline_ns=HOUR), 0)
    busy.start(0)
    assert busy.expected_wait_ns(9 * MS) < busy.expected_wait_ns(1 * MS) < 12 * MS


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int]]:
    """What a deployment may have seen before a rush: quiet times, and batches that something else held up."""
    quiet = st.tuples(st.just(1), st.integers(20_000, 400_000))
    held_up = st.tuples(st.integers(1, 32), st.integers(1_000_000, 50_000_000))
    parts = draw(st.lists(st.tuples(st.one_of(quiet, held_up), st.integers(1, 500)), max_size=6))
    return [batch for batch, times in parts for _ in range(times)]


def rush(curve: ServiceCurve, time_of: Callable[[int], float], batches: int) -> float:
    """The mean rows of a batch while 32 clients call in a loop, in the last quarter of the batches."""
    busy: Scheduler[Waiter] = Scheduler(capacity=100, max_rows=32, workers=1, curve=curve)
    noise = random.Random(7)
    now, rows = 0, 0
    for index in range(batches):
        while len(busy.queue) < 32:
            busy.offer(Waiter(deadline_ns=now + HOUR), now)
        batch = busy.start(now)
        took = int(time_of(batch.rows) * noise.uniform(0.9, 1.5))
        now += took
        busy.finished(batch, now, took)
        rows += batch.rows if index >= batches * 3 // 4 else 0
    return rows / (batches - batches * 3 // 4)


@settings(max_examples=15, deadline=None)
@given(histories())
def test_no_history_keeps_a_model_that_gains_from_batching_at_small_batches(history: list[tuple[int, int]]) -> None:
    curve = ServiceCurve()
    for rows, ns in history:
        curve.observe(rows, ns)
    assert rush(curve, lambda rows: 60_000 + 2_000 * rows, 6_000) > 16


@settings(max_examples=15, deadline=None)
@given(histories())
def test_no_history_keeps_a_model_that_does_not_gain_at_large_batches(history: list[tuple[int, int]]) -> None:
    curve = ServiceCurve()
    for rows, ns in history:
        curve.observe(rows, ns)
    assert rush(curve, lambda rows: 3_000_000 * rows**1.05, 6_000) < 2
