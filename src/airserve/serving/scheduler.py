"""When a batch starts and how large it is. A sans-IO policy over the queue and the service-time curve.

An idle deployment starts at once. A busy one batches by itself: while the engine computes, calls gather, and
the next batch takes them together. Waiting on top of that pays only right after a large batch of a model that
gains from batching, whose clients are about to call again: then the scheduler waits for as many rows as last
time, but never longer than half of what a second batch would cost (`per_batch_ns`, the ski-rental bound), and
never past the moment at which the earliest deadline needs the batch to start.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from airserve.core.errors import DeadlineExceededError, OverloadedError
from airserve.serving.curve import ServiceCurve
from airserve.serving.queue import Batch, DeadlineQueue, Waiting

T = TypeVar("T", bound=Waiting)

_LEAST_WAIT_NS = 300_000
"""Shorter waits than this cost more in timers than they gain."""

_TRY_EVERY = 64
"""One full batch in so many is a trial."""


class Scheduler(Generic[T]):
    """The waiting calls of one deployment and its measured speed, with `workers` batches running at once.

    `batch_rows` is the most rows of the next batch, from the curve as it is now.
    """

    def __init__(self, *, capacity: int, max_rows: int, workers: int, curve: ServiceCurve) -> None:
        self.queue: DeadlineQueue[T] = DeadlineQueue(capacity)
        self.curve = curve
        self.max_rows = max(1, max_rows)
        self.workers = workers
        self.batch_rows = curve.best_batch(self.max_rows)
        self._expected_ends: dict[int, int] = {}
        self._last_rows = 0
        self._last_end_ns = 0
        self._batches = 0

    def expected_wait_ns(self, now_ns: int) -> int:
        """How long what runs and what waits will keep the workers busy, from now on."""
        if self.has_free_worker and not self.queue.rows:
            return 0
        running_ns = sum(max(0, end_ns - now_ns) for end_ns in self._expected_ends.values())
        size = self.batch_rows
        return int((running_ns + self.curve.predict(size) * self.queue.rows / size) / self.workers)

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
        needed_ns = wait_ns + self.curve.predict(call.rows)
        if now_ns + needed_ns > call.deadline_ns:
            raise OverloadedError(
                f"the answer would take about {needed_ns / 1e6:.1f} ms and the call has "
                f"{(call.deadline_ns - now_ns) / 1e6:.1f} ms left; give it more time or come back later",
                retry_after=max((now_ns + needed_ns - call.deadline_ns) / 1e9, 0.001),
            )
        self.queue.push(call)

    def wait_until_ns(self, now_ns: int) -> int:
        """When the next batch should start: `now_ns` or before for at once."""
        rows = self.queue.rows
        if rows >= min(self._last_rows, self.batch_rows) or self._last_rows <= 1:
            return now_ns
        limit_ns = int(self.curve.per_batch_ns) // 2
        if limit_ns < _LEAST_WAIT_NS:
            return now_ns
        latest_start_ns = self.queue.earliest_deadline_ns() - self.curve.predict(rows)
        return min(self._last_end_ns + limit_ns, latest_start_ns)

    def start(self, now_ns: int) -> Batch[T]:
        """Take the next batch; the caller runs `batch.calls` if there are any and says `finished` afterwards."""
        batch = self.queue.take(now_ns, self._next_rows(), self.curve.predict)
        if batch.calls:
            self._expected_ends[id(batch)] = now_ns + self.curve.predict(batch.rows)
        return batch

    def _next_rows(self) -> int:
        """`batch_rows`; in a trial, with a backlog, twice or half as many in turn: what is never run is not known."""
        if self.queue.rows < self.batch_rows:
            return self.batch_rows
        self._batches += 1
        trial, not_yet = divmod(self._batches, _TRY_EVERY)
        if not_yet:
            return self.batch_rows
        return min(2 * self.batch_rows, self.max_rows) if trial % 2 else max(1, self.batch_rows // 2)

    def finished(self, batch: Batch[T], now_ns: int, ns: int | None) -> None:
        """A batch has left its worker, after `ns` nanoseconds there; None where it failed and tells nothing."""
        del self._expected_ends[id(batch)]
        self._last_rows = batch.rows
        self._last_end_ns = now_ns
        if ns is not None:
            self.curve.observe(batch.rows, ns)
            self.batch_rows = self.curve.better_batch(self.batch_rows, self.max_rows)

    @property
    def running(self) -> int:
        """How many batches are with the workers."""
        return len(self._expected_ends)

    @property
    def has_free_worker(self) -> bool:
        """Whether another batch may start."""
        return self.running < self.workers
