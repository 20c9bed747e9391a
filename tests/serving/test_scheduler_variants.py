from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.errors import OverloadedError
from airserve.serving.allowance import best_of
from airserve.serving.curve import ServiceCurve
from airserve.serving.scheduler import Scheduler
from tests.serving.simulation import MS, curve_of, simulate
from tests.serving.test_queue import Waiter

HOUR = 3600 * 1000 * MS
FULL, SMALL = (10.0 * MS, 0.0), (3.0 * MS, 0.0)
ANY, FULL_ALONE, SMALL_ALONE = 0b11, 0b01, 0b10


def scheduler(
    *variants: tuple[float, float], workers: int = 1, capacity: int = 100, max_rows: int = 1
) -> Scheduler[Waiter]:
    first, *others = [curve_of(*each) for each in variants or (FULL, SMALL)]
    return Scheduler(capacity=capacity, max_rows=max_rows, workers=workers, curve=first, others=others)


@st.composite
def several(draw: st.DrawFn) -> Sequence[tuple[float, float]]:
    """Two to four variants, whatever each takes: the less accurate one need not be the faster."""
    times = st.tuples(st.floats(0.05 * MS, 20 * MS), st.floats(0, 20 * MS))
    return draw(st.lists(times, min_size=2, max_size=4))


def callers(variants: int) -> st.SearchStrategy[list[Waiter]]:
    allowed = st.integers(1, (1 << variants) - 1)
    deadline = st.one_of(st.integers(1, 200 * MS), st.just(HOUR))
    tenants = st.sampled_from("abc")
    one = st.builds(Waiter, tenant_id=tenants, rows=st.integers(1, 8), deadline_ns=deadline, allowed=allowed)
    return st.lists(one, min_size=1, max_size=80)


def offered(busy: Scheduler[Waiter], calls: Sequence[Waiter], now_ns: int = 0) -> list[bool]:
    """Which calls are let in."""
    taken = []
    for call in calls:
        try:
            busy.offer(call, now_ns)
        except OverloadedError:
            taken.append(False)
        else:
            taken.append(True)
    return taken


@settings(max_examples=150, deadline=None)
@given(st.data(), several(), st.integers(1, 3), st.sampled_from((1, 8, 32)))
def test_nobody_is_answered_by_a_variant_that_the_call_does_not_allow(
    data: st.DataObject, variants: Sequence[tuple[float, float]], workers: int, max_rows: int
) -> None:
    calls = data.draw(callers(len(variants)))
    busy = scheduler(*variants, workers=workers, max_rows=max_rows)
    waiting = [call for call, taken in zip(calls, offered(busy, calls), strict=True) if taken]
    now, ended = 0, 0
    while len(busy.queue):
        batch = busy.start(now)
        assert all(call.allowed >> batch.variant & 1 for call in batch.calls)
        now += 3 * MS
        ended += len(batch.calls) + len(batch.late)
        if batch.calls:
            busy.finished(batch, now, 3 * MS)
    # Each leaves once, and what is remembered of those who wait leaves with them.
    assert ended == len(waiting)
    assert busy.expected_wait_ns(now) == 0


@settings(max_examples=100, deadline=None)
@given(st.data(), several())
def test_with_time_enough_each_is_answered_by_the_most_accurate_that_it_allows(
    data: st.DataObject, variants: Sequence[tuple[float, float]]
) -> None:
    idle = scheduler(*variants, max_rows=8)
    calls = data.draw(callers(len(variants)))
    for call in calls:
        call.deadline_ns = HOUR
        idle.offer(call, 0)
    while len(idle.queue):
        batch = idle.start(0)
        assert {best_of(call.allowed) for call in batch.calls} == {batch.variant}
        idle.finished(batch, 0, None)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.floats(1.1, 20), st.integers(1, 3), st.sampled_from((1, 32)))
def test_whoever_the_smallest_could_answer_in_time_is_let_in(
    data: st.DataObject, faster: float, workers: int, max_rows: int
) -> None:
    full = data.draw(st.tuples(st.floats(1 * MS, 20 * MS), st.floats(0, 20 * MS)))
    small = (full[0] / faster, full[1] / faster)
    calls = data.draw(callers(2))
    for call in calls:
        call.allowed = ANY
    both = scheduler(full, small, workers=workers, max_rows=max_rows)
    alone = scheduler(small, workers=workers, max_rows=max_rows)
    assert offered(both, calls) == offered(alone, calls)


def test_who_wants_the_full_model_alone_waits_for_it_and_is_refused_when_that_is_too_late() -> None:
    busy = scheduler()
    assert (
        offered(busy, [Waiter(deadline_ns=25 * MS, allowed=FULL_ALONE) for _ in range(4)]) == [True] * 2 + [False] * 2
    )
    assert offered(busy, [Waiter(deadline_ns=25 * MS, allowed=ANY)]) == [True]


def test_a_smaller_variant_answers_before_a_call_is_refused() -> None:
    busy = scheduler()
    assert all(offered(busy, [Waiter(deadline_ns=50 * MS, allowed=ANY) for _ in range(12)]))
    now = 0
    answered = {0: 0, 1: 0}
    while len(busy.queue):
        batch = busy.start(now)
        took = 10 * MS if batch.variant == 0 else 3 * MS
        now += took
        busy.finished(batch, now, took)
        assert not batch.late and all(now <= call.deadline_ns for call in batch.calls)
        answered[batch.variant] += len(batch.calls)
    assert answered[1] >= 10


def test_a_call_that_must_have_the_full_model_is_not_passed_by_for_ever() -> None:
    busy = scheduler(capacity=1000)
    pinned = Waiter(deadline_ns=60 * MS, allowed=FULL_ALONE)
    busy.offer(pinned, 0)
    offered(busy, [Waiter(deadline_ns=61 * MS, allowed=ANY) for _ in range(16)])
    batch = busy.start(0)
    assert batch.calls == [pinned] and batch.variant == 0


def test_a_call_that_may_have_the_full_model_does_not_join_one_that_asked_for_the_small_one() -> None:
    idle = scheduler((1.0 * MS, 5.0 * MS), (0.2 * MS, 1.0 * MS), max_rows=32)
    asked = Waiter(deadline_ns=HOUR - 1, allowed=SMALL_ALONE)
    for call in (asked, *[Waiter(deadline_ns=HOUR, allowed=ANY) for _ in range(3)]):
        idle.offer(call, 0)
    first, second = idle.start(0), idle.start(0)
    assert (first.calls, first.variant) == ([asked], 1)
    assert (len(second.calls), second.variant) == (3, 0)


def test_a_variant_that_was_slow_once_is_tried_again_when_nothing_else_waits() -> None:
    full, small = ServiceCurve(), ServiceCurve()
    full.observe(1, 10 * MS)
    small.observe(1, 3 * MS)
    idle: Scheduler[Waiter] = Scheduler(capacity=10, max_rows=1, workers=1, curve=full, others=[small])
    for _ in range(20):
        # Something else held the machine up.
        idle.paces[0].observe(1, 500 * MS)
    chosen = []
    now = 0
    for _ in range(400):
        idle.offer(Waiter(deadline_ns=now + 100 * MS, allowed=ANY), now)
        batch = idle.start(now)
        now += 10 * MS if batch.variant == 0 else 3 * MS
        idle.finished(batch, now, 10 * MS if batch.variant == 0 else 3 * MS)
        chosen.append(batch.variant)
        now += 50 * MS
    assert chosen[0] == 1
    assert chosen[-100:] == [0] * 100
    assert chosen.count(1) < 300


LOADS = [
    pytest.param((FULL, SMALL), 2, 1, 200, id="a convolution: one batch a core, no gain from batching"),
    pytest.param(((1.0 * MS, 4.0 * MS), (0.25 * MS, 1.0 * MS)), 1, 32, 890, id="one that gains from batching"),
]


@pytest.mark.parametrize(("variants", "workers", "max_rows", "capacity"), LOADS)
def test_at_twice_the_load_of_the_full_model_nearly_all_are_answered_in_time(
    variants: Sequence[tuple[float, float]], workers: int, max_rows: int, capacity: int
) -> None:
    seen = simulate(
        variants,
        workers=workers,
        calls_a_second=2 * capacity,
        deadline_ns=100 * MS,
        seconds=5,
        max_rows=max_rows,
    )
    assert seen.in_time > 0.99 * seen.came
    # And not by giving up: what the deadlines leave is the full model's.
    assert seen.answered[0] > 0.2 * seen.came
    alone = simulate(
        variants[:1],
        workers=workers,
        calls_a_second=2 * capacity,
        deadline_ns=100 * MS,
        seconds=5,
        max_rows=max_rows,
    )
    assert seen.in_time > 1.8 * alone.in_time


@pytest.mark.parametrize(("variants", "workers", "max_rows", "capacity"), LOADS)
def test_at_half_the_load_of_the_full_model_it_answers_all(
    variants: Sequence[tuple[float, float]], workers: int, max_rows: int, capacity: int
) -> None:
    seen = simulate(
        variants,
        workers=workers,
        calls_a_second=capacity / 2,
        deadline_ns=100 * MS,
        seconds=5,
        max_rows=max_rows,
    )
    assert seen.answered[0] > 0.99 * seen.came
