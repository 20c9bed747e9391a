from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from airserve.serving.queue import DeadlineQueue

FREE = 1 << 61


@dataclass(eq=False)
class Waiter:
    tenant_id: str = "a"
    rows: int = 1
    deadline_ns: int = FREE
    group: object = None
    cancelled: bool = False
    priority: int = 0
    share: int = 1
    allowed: int = 1

    @property
    def due_ns(self) -> int:
        return self.deadline_ns


def nothing(rows: int) -> int:
    return 0


def test_the_earliest_deadline_leaves_first() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(10)
    calls = [Waiter(deadline_ns=deadline) for deadline in (30, 10, 20)]
    for call in calls:
        queue.push(call)
    assert queue.take(0, 2, nothing).calls == [calls[1], calls[2]]
    assert queue.earliest_deadline_ns() == 30


def test_a_flood_of_one_tenant_leaves_half_of_each_batch_to_another() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for _ in range(100):
        queue.push(Waiter("loud", deadline_ns=1000))
    for _ in range(8):
        queue.push(Waiter("quiet", deadline_ns=2000))
    batch = queue.take(0, 8, nothing)
    assert sorted(call.tenant_id for call in batch.calls).count("quiet") == 4


def test_large_calls_count_by_their_rows() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for _ in range(10):
        queue.push(Waiter("large", rows=4))
        for _ in range(4):
            queue.push(Waiter("small"))
    rows = {"large": 0, "small": 0}
    for _ in range(4):
        for call in queue.take(0, 8, nothing).calls:
            rows[call.tenant_id] += call.rows
    assert abs(rows["large"] - rows["small"]) <= 4


def test_a_tenant_that_was_away_comes_back_without_credit() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for _ in range(50):
        queue.push(Waiter("busy"))
    for _ in range(5):
        queue.take(0, 4, nothing)
    for _ in range(50):
        queue.push(Waiter("returning"))
    tenants = [call.tenant_id for call in queue.take(0, 8, nothing).calls]
    assert 3 <= tenants.count("busy") <= 5


def test_a_tenant_cannot_gain_by_asking_one_call_at_a_time() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    served = {"steady": 0, "single": 0}
    for _ in range(20):
        queue.push(Waiter("steady"))
    for _ in range(20):
        if not any(entry for entry in queue._waiting.get((0, "single"), [])):
            queue.push(Waiter("single", rows=4))
        for call in queue.take(0, 4, nothing).calls:
            served[call.tenant_id] += call.rows
        queue.push(Waiter("steady"))
    assert served["single"] <= served["steady"] + 8


def test_a_batch_is_as_large_as_its_earliest_deadline_allows() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(100)
    for _ in range(10):
        queue.push(Waiter(deadline_ns=50))
    batch = queue.take(0, 100, lambda rows: 10 * rows)
    assert batch.rows == 5
    assert not batch.late


def test_a_call_that_cannot_be_in_time_is_late_and_the_others_go_on() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(100)
    hopeless, fine = Waiter(deadline_ns=5), Waiter(deadline_ns=500)
    queue.push(hopeless)
    queue.push(fine)
    batch = queue.take(0, 100, lambda rows: 10 * rows)
    assert batch.late == [hopeless]
    assert batch.calls == [fine]


def test_calls_of_another_shape_wait_for_the_next_batch() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(100)
    wide, tall = Waiter(group=(3,), deadline_ns=1), Waiter(group=(4,), deadline_ns=2)
    queue.push(wide)
    queue.push(tall)
    assert queue.take(0, 8, nothing).calls == [wide]
    assert queue.take(0, 8, nothing).calls == [tall]


def test_a_call_whose_client_has_gone_is_not_computed() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(100)
    gone = Waiter(cancelled=True)
    queue.push(gone)
    batch = queue.take(0, 8, nothing)
    assert batch.gone == [gone]
    assert not batch.calls
    assert len(queue) == 0


def test_a_higher_class_goes_first_however_late_it_comes() -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(100)
    for _ in range(4):
        queue.push(Waiter("many", deadline_ns=1))
    urgent = [Waiter("paying", deadline_ns=1000, priority=2) for _ in range(3)]
    for call in urgent:
        queue.push(call)
    assert queue.take(0, 2, nothing).calls == urgent[:2]
    # What one class does not fill is filled from the next.
    batch = queue.take(0, 2, nothing)
    assert [call.tenant_id for call in batch.calls] == ["paying", "many"]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_tenants_of_a_class_are_served_in_proportion_to_their_shares(first: int, second: int, rows: int) -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for _ in range(100):
        queue.push(Waiter("a", share=first, rows=rows))
        queue.push(Waiter("b", share=second))
    served = {"a": 0, "b": 0}
    for _ in range(12):
        for call in queue.take(0, 8, nothing).calls:
            served[call.tenant_id] += call.rows
    # Start-time fair queueing: virtual times differ by one call of each at most.
    assert abs(served["a"] / first - served["b"] / second) <= rows / first + 1 / second


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=40), st.integers(1, 8))
def test_nothing_of_a_lower_class_leaves_while_a_higher_one_could(calls: list[tuple[str, int]], size: int) -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for tenant, priority in calls:
        queue.push(Waiter(tenant, priority=priority))
    order = []
    while len(queue):
        order += [call.priority for call in queue.take(0, size, nothing).calls]
    assert order == sorted((priority for _, priority in calls), reverse=True)


waiters = st.builds(
    Waiter,
    tenant_id=st.sampled_from("abc"),
    rows=st.integers(1, 6),
    deadline_ns=st.integers(1, 400),
    group=st.sampled_from([(1,), (2,)]),
    cancelled=st.booleans(),
    priority=st.integers(-1, 2),
    share=st.integers(1, 4),
)


@given(st.lists(waiters, max_size=60), st.integers(1, 16), st.integers(0, 200), st.integers(0, 20))
def test_every_call_leaves_exactly_once_and_no_batch_breaks_its_bounds(
    calls: list[Waiter], max_rows: int, now: int, row_ns: int
) -> None:
    queue: DeadlineQueue[Waiter] = DeadlineQueue(1000)
    for call in calls:
        queue.push(call)
    left: list[Waiter] = []
    while len(queue):
        before = len(queue)
        batch = queue.take(now, max_rows, lambda rows: row_ns * rows)
        assert len(batch.calls) + len(batch.late) + len(batch.gone) == before - len(queue) > 0
        assert batch.rows == sum(call.rows for call in batch.calls)
        assert batch.rows <= max_rows or len(batch.calls) == 1
        assert len({call.group for call in batch.calls}) <= 1
        assert all(now + row_ns * batch.rows <= call.deadline_ns for call in batch.calls)
        assert all(call.cancelled for call in batch.gone)
        left += batch.calls + batch.late + batch.gone
    assert len(left) == len(calls) == len({id(call) for call in left})
    assert queue.rows == 0
