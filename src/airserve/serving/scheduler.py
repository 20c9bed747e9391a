"""When a batch starts, how large it is, and which variant runs it. A sans-IO policy over queue and service-time curves.

An idle deployment starts at once. A busy one batches by itself: while the engine computes, calls gather, and
the next batch takes them together. Waiting on top of that pays only right after a large batch of a model that
gains from batching, whose clients are about to call again: then the scheduler waits for as many rows as last
time, but never longer than half of what a second batch would cost (`per_batch_ns`, the ski-rental bound), and
never past the moment at which the earliest deadline needs the batch to start.

Where several variants are served, `choice` says which one runs a batch, and a call is refused only where the fastest
that it allows would be late too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from airserve.core.errors import DeadlineExceededError, OverloadedError
from airserve.serving.choice import Due, all_in_time
from airserve.serving.curve import ServiceCurve
from airserve.serving.pace import Pace
from airserve.serving.queue import Batch, DeadlineQueue, Waiting


class Choosy(Waiting, Protocol):
    """A call that waits.

    `allowed` has a bit for each variant that may answer it, the lowest for the most accurate. `due_ns` is when its
    answer should be ready: before its deadline, since the answer still has its way to go.
    """

    @property
    def allowed(self) -> int: ...  # noqa: D102
    @property
    def due_ns(self) -> int: ...  # noqa: D102


T = TypeVar("T", bound=Choosy)

_LEAST_WAIT_NS = 300_000
"""Shorter waits than this cost more in timers than they gain."""

_LOOKED_AT = 64
"""So many of the calls that wait are looked at when a variant is chosen; each then stands for several."""


class Scheduler(Generic[T]):
    """The waiting calls of one deployment and its measured speed, with `workers` batches running at once.

    `curve` is that of the most accurate variant, `others` are those of less accurate ones, in that order; `paces` is
    all of them.
    """

    def __init__(
        self, *, capacity: int, max_rows: int, workers: int, curve: ServiceCurve, others: Sequence[ServiceCurve] = ()
    ) -> None:
        self.queue: DeadlineQueue[T] = DeadlineQueue(capacity)
        self.curve = curve
        self.workers = workers
        self.paces = [Pace(each, max(1, max_rows)) for each in (curve, *others)]
        self._several = len(self.paces) > 1
        self._expected_ends: dict[int, int] = {}
        self._last = self.paces[0]
        self._last_rows = 0
        self._last_end_ns = 0
        # Of several variants: the rows that wait, and who would run them fastest, by what calls allow.
        self._rows_of: dict[int, int] = {}
        self._fastest_of: dict[int, Pace] = {}

    @property
    def run_ns(self) -> int:
        """What the next batch may take: one that is as large as pays, by whichever variant takes longest."""
        return max(pace.curve.predict(pace.batch_rows) for pace in self.paces)

    def expected_wait_ns(self, now_ns: int) -> int:
        """How long what runs and what waits will keep the workers busy, from now on.

        What waits is run by the fastest variant that each call allows.
        """
        if self.has_free_worker and not self.queue.rows:
            return 0
        running_ns = sum(max(0, end_ns - now_ns) for end_ns in self._expected_ends.values())
        if self._several:
            waiting_ns = sum(rows * self._row_ns(bits) for bits, rows in self._rows_of.items())
        else:
            size = self.paces[0].batch_rows
            waiting_ns = self.curve.predict(size) * self.queue.rows / size
        return int((running_ns + waiting_ns) / self.workers)

    def offer(self, call: T, now_ns: int) -> None:
        """Let a call wait, or refuse it early: queue full, deadline passed, or a deadline that cannot be met."""
        if call.deadline_ns <= now_ns:
            raise DeadlineExceededError("the deadline had passed when the call arrived; give it more time")
        wait_ns = self.expected_wait_ns(now_ns)
        if self.queue.full:
            raise OverloadedError(
                f"Exceeds maximum queue size: {self.queue.capacity} calls wait already; come back later",
                retry_after=max(wait_ns / 1e9, 0.001),
            )
        needed_ns = wait_ns + (self._least_ns(call) if self._several else self.curve.predict(call.rows))
        if now_ns + needed_ns > call.deadline_ns:
            raise OverloadedError(
                f"the answer would take about {needed_ns / 1e6:.1f} ms and the call has "
                f"{(call.deadline_ns - now_ns) / 1e6:.1f} ms left; give it more time or come back later",
                retry_after=max((now_ns + needed_ns - call.deadline_ns) / 1e9, 0.001),
            )
        self.queue.push(call)
        if self._several:
            self._rows_of[call.allowed] = self._rows_of.get(call.allowed, 0) + call.rows

    def wait_until_ns(self, now_ns: int) -> int:
        """When the next batch should start: `now_ns` or before for at once."""
        rows = self.queue.rows
        if rows >= min(self._last_rows, self._last.batch_rows) or self._last_rows <= 1:
            return now_ns
        limit_ns = int(self._last.curve.per_batch_ns) // 2
        if limit_ns < _LEAST_WAIT_NS:
            return now_ns
        # That of the most accurate: waiting for others must not cost accuracy.
        latest_start_ns = self.queue.earliest_deadline_ns() - self.curve.predict(rows)
        return min(self._last_end_ns + limit_ns, latest_start_ns)

    def start(self, now_ns: int) -> Batch[T]:
        """Take the next batch; the caller runs `batch.calls` if there are any and says `finished` afterwards."""
        if self._several:
            batch = self._start_chosen(now_ns)
        else:
            batch = self.queue.take(now_ns, self.paces[0].next_rows(self.queue.rows), self.curve.predict)
        if batch.calls:
            self._expected_ends[id(batch)] = now_ns + self.paces[batch.variant].curve.predict(batch.rows)
        return batch

    def finished(self, batch: Batch[T], now_ns: int, ns: int | None) -> None:
        """A batch has left its worker, after `ns` nanoseconds there; None where it failed and tells nothing."""
        del self._expected_ends[id(batch)]
        self._last = self.paces[batch.variant]
        self._last_rows = batch.rows
        self._last_end_ns = now_ns
        if ns is not None:
            self._last.observe(batch.rows, ns)
            self._fastest_of.clear()

    @property
    def running(self) -> int:
        """How many batches are with the workers."""
        return len(self._expected_ends)

    @property
    def has_free_worker(self) -> bool:
        """Whether another batch may start."""
        return self.running < self.workers

    def _start_chosen(self, now_ns: int) -> Batch[T]:
        """The next batch, run by the most accurate variant that its first call allows and all that wait have time for.

        Others join it that would have been given the same; the rest keeps its place in the queue.
        """
        batch: Batch[T] = Batch()
        leader = self.queue.leader(now_ns, self._least_ns, batch)
        if leader is not None:
            batch.variant = self._choose(leader, now_ns)
            pace, bit = self.paces[batch.variant], 1 << batch.variant
            # Where there is time, who allows a better variant waits for that; in haste, all take what is chosen.
            better = bit - 1 if not leader.allowed & (bit - 1) else 0
            self.queue.take(
                now_ns,
                pace.next_rows(self.queue.rows),
                pace.curve.predict,
                self._least_ns,
                lambda call: bool(call.allowed & bit) and not call.allowed & better,
                batch,
            )
        for call in (*batch.calls, *batch.late, *batch.gone):
            self._left(call)
        return batch

    def _left(self, call: T) -> None:
        rows = self._rows_of[call.allowed] - call.rows
        if rows:
            self._rows_of[call.allowed] = rows
        else:
            # What calls may ask for has no bound in time: only what waits now is remembered.
            del self._rows_of[call.allowed]

    def _choose(self, leader: T, now_ns: int) -> int:
        """The variant for a batch that begins with `leader`."""
        others, each_is = self._others(leader)
        alone = len(self.queue) == 1
        rows_each = each_is * self.queue.rows / len(self.queue)
        ends_ns = list(self._expected_ends.values())
        fastest, fastest_ns = -1, 0
        for variant, pace in enumerate(self.paces):
            if not leader.allowed >> variant & 1:
                continue
            rows = max(leader.rows, min(self.queue.rows, pace.batch_rows))
            own_ns = pace.hoped_ns(rows)
            # Who shares the batch is not among those who come after it.
            shared = min(len(others), int((rows - leader.rows) / rows_each))
            due_ns = min(leader.due_ns, others[0].due_ns if shared else leader.due_ns)
            if all_in_time(own_ns, due_ns, ends_ns, self.workers, others[shared:], now_ns):
                return variant
            if alone:
                pace.passed_over()
            if fastest < 0 or own_ns < fastest_ns:
                fastest, fastest_ns = variant, own_ns
        return fastest

    def _others(self, leader: T) -> tuple[list[Due], int]:
        """What those who wait beside `leader` ask of the workers, by when it is due, and how many each stands for."""
        calls, each_is = self.queue.sample(_LOOKED_AT)
        costs: dict[int, tuple[float, int]] = {}
        for bits in self._rows_of:
            pace = self._fastest(bits)
            costs[bits] = each_is * pace.row_ns, pace.curve.predict(min(pace.batch_rows, self.queue.rows))
        found = []
        for call in calls:
            if call is not leader:
                row_ns, batch_ns = costs[call.allowed]
                found.append(Due(call.due_ns, call.rows * row_ns, batch_ns))
        found.sort()
        return found, each_is

    def _row_ns(self, bits: int) -> float:
        """What a row adds to a worker's time, run by the fastest of the variants that are allowed."""
        return self._fastest(bits).row_ns

    def _least_ns(self, call: T) -> int:
        """What `call` takes by itself, run by the fastest variant that it allows."""
        return min(pace.curve.predict(call.rows) for pace in self._allowed(call.allowed))

    def _fastest(self, bits: int) -> Pace:
        pace = self._fastest_of.get(bits)
        if pace is None:
            pace = self._fastest_of[bits] = min(self._allowed(bits), key=lambda each: each.row_ns)
        return pace

    def _allowed(self, bits: int) -> list[Pace]:
        return [pace for variant, pace in enumerate(self.paces) if bits >> variant & 1]
