"""Which calls wait, and in what order they leave: by class, fair between tenants, earliest deadline first.

A sans-IO policy: time comes in as an argument. A higher class goes first, always: while it fills the machine, lower
ones wait, until their deadlines if it must be. Within a class tenants share by start-time fair queueing with weights
(Goyal, Vin and Cheng, SIGCOMM 1996): the tenant that was served the fewest rows for its `share` goes first, and one
that was away does not come back with credit. Within a tenant, and between tenants that are level, the earliest deadline
goes first (Liu and Layland, JACM 1973). A batch that one class does not fill is filled from the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the queue asks of a call.

    `group` tells which calls may share a batch, `priority` is its class, `share` (1 or more) its tenant's weight.
    """

    @property
    def tenant_id(self) -> str: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def deadline_ns(self) -> int: ...  # noqa: D102
    @property
    def group(self) -> object: ...  # noqa: D102
    @property
    def priority(self) -> int: ...  # noqa: D102
    @property
    def share(self) -> int: ...  # noqa: D102
    @property
    def cancelled(self) -> bool: ...  # noqa: D102


T = TypeVar("T", bound=Waiting)

Flow = tuple[int, str]
"""A class, negative so that the highest sorts first, and a tenant."""

_NEVER_NS = 1 << 62
_LOOK_AHEAD = 256
_REMEMBERED_TENANTS = 4096


@dataclass(slots=True)
class Batch(Generic[T]):
    """What one look into the queue gave: the calls to run together, those too late, those whose client has gone.

    `variant` says which variant runs it, 0 for the most accurate.
    """

    calls: list[T] = field(default_factory=list)
    late: list[T] = field(default_factory=list)
    gone: list[T] = field(default_factory=list)
    rows: int = 0
    earliest_ns: int = _NEVER_NS
    variant: int = 0


class DeadlineQueue(Generic[T]):
    """The waiting calls of one deployment; `capacity` bounds their number."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows = 0
        self._size = 0
        self._sequence = 0
        # The virtual time of each class, and of each flow: rows served for its share.
        self._virtual: dict[int, float] = {}
        self._served: dict[Flow, float] = {}
        self._waiting: dict[Flow, list[tuple[int, int, T]]] = {}
        # One turn for each flow that waits: (class, virtual time, earliest deadline, sequence, flow).
        self._turns: list[tuple[int, float, int, int, Flow]] = []

    def __len__(self) -> int:
        return self._size

    @property
    def full(self) -> bool:
        """Whether one more call would pass the capacity."""
        return self._size >= self.capacity

    def push(self, call: T) -> None:
        """Add a call; the caller has looked at `full`."""
        self._sequence += 1
        flow = (-call.priority, call.tenant_id)
        heap = self._waiting.get(flow)
        if heap is None:
            heap = self._waiting[flow] = []
            start = max(self._virtual.get(flow[0], 0.0), self._served.get(flow, 0.0))
            heapq.heappush(self._turns, (flow[0], start, call.deadline_ns, self._sequence, flow))
        heapq.heappush(heap, (call.deadline_ns, self._sequence, call))
        self._size += 1
        self.rows += call.rows

    def leader(self, now_ns: int, least_ns: Callable[[T], int], batch: Batch[T]) -> T | None:
        """The call that is served next, which stays; those before it that are late or gone are moved to `batch`.

        `least_ns` is what a call takes at least. None where nobody is left.
        """
        while self._turns:
            call = self._waiting[self._turns[0][-1]][0][2]
            if call.cancelled:
                batch.gone.append(call)
            elif now_ns + least_ns(call) > call.deadline_ns:
                batch.late.append(call)
            else:
                return call
            flow, start, _ = self._pop()
            self._next_turn(flow, start)
        return None

    def sample(self, most: int) -> tuple[list[T], int]:
        """At most `most` of the calls that wait, and how many each stands for. Nothing is removed."""
        stride = -(-self._size // most) or 1
        waiting = chain.from_iterable(self._waiting.values())
        return [call for _, _, call in islice(waiting, 0, None, stride)], stride

    def take(
        self,
        now_ns: int,
        max_rows: int,
        predict: Callable[[int], int],
        least_ns: Callable[[T], int] | None = None,
        allows: Callable[[T], bool] | None = None,
        batch: Batch[T] | None = None,
    ) -> Batch[T]:
        """Remove and return the next batch.

        It holds at most `max_rows` rows (or one larger call alone), all of one group, and as many calls as the
        earliest deadline among them allows: now + predict(rows) ≤ that deadline. A call that could not be in
        time even alone is late.

        Where a variant was chosen for the `leader`, `predict` is its time and `allows` says who may share the batch;
        who could still be in time by `least_ns` is not late, but waits for another. What is taken joins `batch`.
        """
        batch = Batch() if batch is None else batch
        put_back: list[T] = []
        while self._turns and len(put_back) < _LOOK_AHEAD:
            flow, start, call = self._pop()
            rows = batch.rows + call.rows
            admitted = full = False
            if call.cancelled:
                batch.gone.append(call)
            elif now_ns + (predict(call.rows) if least_ns is None else least_ns(call)) > call.deadline_ns:
                batch.late.append(call)
            elif allows is not None and not allows(call):
                put_back.append(call)
            elif not batch.calls:
                admitted = True
            elif call.group != batch.calls[0].group:
                put_back.append(call)
            elif rows > max_rows or now_ns + predict(rows) > min(batch.earliest_ns, call.deadline_ns):
                put_back.append(call)
                full = True
            else:
                admitted = True
            if admitted:
                batch.calls.append(call)
                batch.rows = rows
                batch.earliest_ns = min(batch.earliest_ns, call.deadline_ns)
            self._next_turn(flow, start + call.rows / max(1, call.share) if admitted else start)
            if full or batch.rows >= max_rows:
                break
        for call in put_back:
            self.push(call)
        return batch

    def drain(self) -> list[T]:
        """Remove and return every call."""
        calls = [call for heap in self._waiting.values() for _, _, call in heap]
        self._waiting.clear()
        self._turns.clear()
        self._size = self.rows = 0
        return calls

    def earliest_deadline_ns(self) -> int:
        """The earliest deadline of all calls; far in the future when none waits."""
        return min((heap[0][0] for heap in self._waiting.values()), default=_NEVER_NS)

    def _pop(self) -> tuple[Flow, float, T]:
        of_class, start, _, _, flow = heapq.heappop(self._turns)
        self._virtual[of_class] = max(self._virtual.get(of_class, 0.0), start)
        _, _, call = heapq.heappop(self._waiting[flow])
        self._size -= 1
        self.rows -= call.rows
        return flow, start, call

    def _next_turn(self, flow: Flow, served: float) -> None:
        heap = self._waiting[flow]
        if heap:
            heapq.heappush(self._turns, (flow[0], served, heap[0][0], heap[0][1], flow))
            return
        del self._waiting[flow]
        self._served[flow] = served
        if len(self._served) > _REMEMBERED_TENANTS:
            # Who is not ahead of the virtual time has nothing left to be remembered for.
            self._served = {each: rows for each, rows in self._served.items() if rows > self._virtual.get(each[0], 0.0)}
