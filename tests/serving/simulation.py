"""A deployment without model, threads or clock: calls come, batches take their time, the scheduler decides."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from airserve.core.errors import AirserveError
from airserve.serving.curve import ServiceCurve
from airserve.serving.scheduler import Scheduler
from tests.serving.test_queue import Waiter

MS = 1_000_000


def curve_of(row_ns: float, batch_ns: float = 0.0) -> ServiceCurve:
    """That of a model that takes so long a row and a batch."""
    curve = ServiceCurve()
    for rows in (1, 2, 4, 8, 16, 32):
        curve.observe(rows, int(batch_ns + row_ns * rows))
    return curve


@dataclass(slots=True)
class Seen:
    """Calls that came, those that were answered in time, by variant, and those that were refused or late."""

    came: int = 0
    answered: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    late: int = 0

    @property
    def in_time(self) -> int:
        return sum(self.answered.values())


def simulate(
    variants: Sequence[tuple[float, float]],
    *,
    workers: int,
    calls_a_second: float,
    deadline_ns: int,
    seconds: float,
    max_rows: int = 1,
    seed: int = 7,
) -> Seen:
    """What becomes of calls that come at random (Poisson) to `variants`, each with its time for a row and a batch."""
    draw = random.Random(seed)
    first, *others = [curve_of(*each) for each in variants]
    busy: Scheduler[Waiter] = Scheduler(capacity=1024, max_rows=max_rows, workers=workers, curve=first, others=others)
    seen = Seen()
    events: list[tuple[int, int, object]] = []
    at = 0.0
    while at < seconds * 1e9:
        at += draw.expovariate(calls_a_second) * 1e9
        heapq.heappush(events, (int(at), len(events), None))
    seen.came = order = len(events)
    while events:
        now, _, ended = heapq.heappop(events)
        if ended is None:
            try:
                busy.offer(Waiter(deadline_ns=now + deadline_ns, allowed=(1 << len(variants)) - 1), now)
            except AirserveError:
                seen.refused += 1
        elif isinstance(ended, tuple):
            batch, took = ended
            busy.finished(batch, now, took)
            in_time = sum(now <= call.deadline_ns for call in batch.calls)
            seen.late += len(batch.calls) - in_time
            seen.answered[batch.variant] = seen.answered.get(batch.variant, 0) + in_time
        while len(busy.queue) and busy.has_free_worker:
            order += 1
            if (until := busy.wait_until_ns(now)) > now:
                heapq.heappush(events, (int(until), order, "look"))
                break
            batch = busy.start(now)
            seen.late += len(batch.late)
            if batch.calls:
                row_ns, batch_ns = variants[batch.variant]
                took = int((batch_ns + row_ns * batch.rows) * draw.lognormvariate(0.0, 0.15))
                heapq.heappush(events, (now + took, order, (batch, took)))
    return seen
