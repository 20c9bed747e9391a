"""One direction of a link as a pure function of packets and time: queue, grant, capacity, loss, delay.

Nothing here reads a clock or a file descriptor. Times are seconds on any one clock, given in an order that does not
decrease; the same packets at the same times with the same seed have the same fate.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from random import Random

from airserve.lab.capacity import capacity
from airserve.lab.cell import Cell
from airserve.lab.codel import CoDel
from airserve.lab.jitter import Jitter
from airserve.lab.link import Direction
from airserve.lab.loss import Loss
from airserve.lab.rrc import SharedRadio


@dataclass(slots=True)
class Counters:
    """What became of the packets of a direction: every one that arrived is waiting, under way, or in one of these."""

    arrived: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    dropped_full: int = 0
    dropped_codel: int = 0
    dropped_failure: int = 0
    lost: int = 0
    cut: int = 0


class Pipeline:
    """Packets go in by `arrive`, and come out by `take` when they are due; `next_at` says when to look again."""

    def __init__(
        self,
        direction: Direction,
        *,
        seed: int | str,
        start_s: float = 0.0,
        failure_s: float = 2.0,
        mtu: int = 1400,
        radio: SharedRadio | None = None,
        cell: Cell | None = None,
    ) -> None:
        self.counters = Counters()
        self.queued_bytes = 0
        self._limit = direction.queue_bytes
        self._grant = direction.grant_s
        self._radio = radio
        if cell is None:
            self._capacity = capacity(direction.capacity, start_s=start_s, failure_s=failure_s)
        else:
            self._capacity = cell.capacity
            cell.join(self)
        self._cell = cell
        self._codel = CoDel(mtu) if direction.codel else None
        loss = Loss(direction.loss, seed)
        self._loss = None if loss.never else loss
        self._draw = Random(f"segments {seed}").random  # noqa: S311
        self._jitter = (
            Jitter(direction.jitter_s, each_packet=direction.reorders, seed=seed) if direction.jitter_s else None
        )
        # With reordering what is under way is a heap, else a queue: the number keeps packets of one time in order.
        self._reorders = direction.reorders
        self._heap: list[tuple[float, int, bytes]] = []
        self._queue: deque[tuple[float, float, bytes]] = deque()
        self._under_way: deque[tuple[float, bytes]] = deque()
        self.free_s = start_s
        self._begin: float | None = None
        self._last_due = -math.inf
        self._sent = 0

    def arrive(self, packet: bytes, now_s: float) -> None:
        """A packet comes to the queue; where it does not fit, it is dropped."""
        self.advance(now_s)
        counters = self.counters
        counters.arrived += 1
        size = len(packet)
        if self.queued_bytes + size > self._limit:
            counters.dropped_full += 1
            return
        ready = now_s
        if self._radio is not None:
            ready = self._radio.ready(now_s)
        if self._grant and not self._queue and self.free_s <= now_s:
            ready += self._grant
        self._queue.append((now_s, ready, packet))
        self.queued_bytes += size
        if len(self._queue) == 1:
            self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Serve what can have begun by now, at its own exact times."""
        if self._cell is not None:
            self._cell.advance(now_s)
            return
        queue = self._queue
        while queue:
            begin = self._begin
            if begin is None:
                begin = self._begin = self._capacity.begin(queue[0][1], self.free_s)
            if begin > now_s:
                return
            self.serve(begin)

    def head_ready(self) -> float:
        """When the packet at the head of the queue was, or will be, ready to be sent; infinite for an empty queue."""
        return self._queue[0][1] if self._queue else math.inf

    def serve(self, begin_s: float) -> int:
        """Take the head of the queue at `begin_s`, and return its bytes, 0 where the queue's own law dropped it."""
        arrived, _, packet = self._queue.popleft()
        self._begin = None
        size = len(packet)
        self.queued_bytes -= size
        if self._codel is not None and self._codel.drops(begin_s - arrived, self.queued_bytes, begin_s):
            self.counters.dropped_codel += 1
            self.free_s = begin_s
            return 0
        finish = self._capacity.finish(begin_s, size)
        failed_until = self._capacity.failure_end(arrived, finish)
        if failed_until:
            self.counters.dropped_failure += 1
            self.free_s = max(begin_s, failed_until)
            return 0
        self.free_s = finish
        self._send(packet, finish)
        return size

    def _send(self, packet: bytes, finish_s: float) -> None:
        """The packet has left the queue: it is lost, or under way until it is due."""
        lost = self._loss is not None and self._loss.loses()
        if lost or (self._capacity.loss and self._draw() < self._capacity.loss):
            self.counters.lost += 1
            return
        due = finish_s + self._capacity.delay_s
        if self._jitter is not None:
            due += self._jitter.delay(finish_s)
        if self._reorders:
            self._sent += 1
            heapq.heappush(self._heap, (due, self._sent, packet))
            return
        if due < self._last_due:
            due = self._last_due
        self._last_due = due
        self._under_way.append((due, packet))

    def take(self, now_s: float) -> list[tuple[float, bytes]]:
        """The packets that are due by now, with the time at which each was due."""
        self.advance(now_s)
        taken: list[tuple[float, bytes]] = []
        under_way, heap = self._under_way, self._heap
        while under_way and under_way[0][0] <= now_s:
            taken.append(under_way.popleft())
        while heap and heap[0][0] <= now_s:
            due, _, packet = heapq.heappop(heap)
            taken.append((due, packet))
        if taken:
            self.counters.delivered += len(taken)
            self.counters.delivered_bytes += sum(len(packet) for _, packet in taken)
        return taken

    def next_at(self) -> float:
        """When something may be due or served next; infinite where nothing is."""
        at = self._under_way[0][0] if self._under_way else math.inf
        if not self._reorders and at < math.inf:
            return at  # what is in the queue is due later than this
        if self._heap:
            at = min(at, self._heap[0][0])
        if self._queue:
            at = min(at, self._next_begin())
        return at

    def _next_begin(self) -> float:
        if self._cell is not None:
            return self._cell.next_begin()
        if self._begin is None:
            self._begin = self._capacity.begin(self._queue[0][1], self.free_s)
        return self._begin

    def waiting(self) -> int:
        """Packets in the queue or under way."""
        return len(self._queue) + len(self._under_way) + len(self._heap)

    def cut(self) -> None:
        """Lose everything that waits or is under way."""
        self.counters.cut += self.waiting()
        self._queue.clear()
        self._under_way.clear()
        self._heap.clear()
        self.queued_bytes = 0
        self._begin = None

    def hand_over(self, successor: Pipeline, now_s: float) -> None:
        """What waits goes into the queue of `successor`, what is under way keeps its time, and the counts go on."""
        self.advance(now_s)
        successor.counters = self.counters
        successor._last_due = self._last_due
        successor._under_way.extend(sorted([*self._under_way, *((due, packet) for due, _, packet in self._heap)]))
        successor._queue = self._queue
        successor.queued_bytes = self.queued_bytes
        successor.free_s = now_s
