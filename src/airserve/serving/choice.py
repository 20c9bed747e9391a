"""Which variant runs the next batch: the most accurate with which all that waits can still be in time. Sans-IO.

What follows the batch is reckoned to be run by the fastest variant that each call allows, earliest deadline first, by
as many workers as there are: if that meets every deadline, there is time for the better answer now. (Earliest deadline
first meets all deadlines whenever any order does, on one worker; Liu and Layland, JACM 1973. The queue itself also
keeps tenants level, so with several of them this is an estimate.) A call that comes later finds less time left, and
smaller variants: nobody is refused whom the fastest could have served.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

MARGIN = 1.5
"""Times are means: so many times what a batch is expected to take must fit."""

QUEUE_MARGIN = 3.0
"""The same for those who wait behind it: more calls come meanwhile, and a machine that is slow is slow for all of them.

Under a steady load it decides how long the queue is, not which part of the calls the full model answers. In simulations
at twice its capacity that part is the same from 1.5 to 3.5, and the median wait falls by half; on a machine that is
three times slower now and then, the late calls fall from 4 % to 1 %."""


class Due(NamedTuple):
    """Waiting work that should be done by `due_ns`, run by the fastest variant that it allows.

    `work_ns` is what it adds to a worker's time, `batch_ns` what the batch takes that it is answered with.
    """

    due_ns: int
    work_ns: float
    batch_ns: int


def all_in_time(
    own_ns: int, own_due_ns: int, ends_ns: Sequence[int], workers: int, dues: Sequence[Due], now_ns: int
) -> bool:
    """Whether a batch of `own_ns` may start on a free worker now, with `dues` (in their order) run after it.

    `ends_ns` is when the other workers that are busy will be free.
    """
    if now_ns + own_ns * MARGIN > own_due_ns:
        return False
    # When each worker is free; `heapreplace` gives the next piece of work to the first of them.
    free: list[float] = [max(now_ns, end_ns) for end_ns in ends_ns[: workers - 1]]
    free += [now_ns + own_ns, *[now_ns] * (workers - 1 - len(free))]
    heapq.heapify(free)
    for due in dues:
        start_ns = free[0]
        if now_ns + (start_ns + max(due.work_ns, due.batch_ns) - now_ns) * QUEUE_MARGIN > due.due_ns:
            return False
        heapq.heapreplace(free, start_ns + due.work_ns)
    return True
