"""What one deployment has done since it was loaded: plain counters, read by the metrics page."""

from __future__ import annotations

from bisect import bisect_left

from airserve.core.call import Reply
from airserve.core.errors import AirserveError

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
_DURATION_BUCKETS_NS = [int(bound * 1e9) for bound in DURATION_BUCKETS_S]


class Statistics:
    """Counts since loading; times in nanoseconds. Written under the deployment's lock."""

    __slots__ = (
        "batch_buckets", "compute_ns", "duration_buckets", "duration_ns", "executions", "failures", "inferences",
        "queue_ns", "rows", "successes", "unrecorded",
    )  # fmt: skip

    def __init__(self) -> None:
        self.successes = self.inferences = self.executions = self.rows = 0
        self.queue_ns = self.compute_ns = self.duration_ns = self.unrecorded = 0
        self.failures: dict[str, int] = {}
        self.duration_buckets = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.batch_buckets = [0] * (len(BATCH_BUCKETS) + 1)

    def batch(self, rows: int, compute_ns: int | None) -> None:
        """One run of the model; `compute_ns` is None where it failed."""
        if compute_ns is None:
            return
        self.executions += 1
        self.rows += rows
        self.compute_ns += compute_ns
        self.batch_buckets[bisect_left(BATCH_BUCKETS, rows)] += 1

    def call(self, rows: int, duration_ns: int, result: Reply | AirserveError) -> None:
        """One call that was accepted has ended."""
        if isinstance(result, AirserveError):
            self.failures[result.code] = self.failures.get(result.code, 0) + 1
            return
        self.successes += 1
        self.inferences += rows
        self.queue_ns += result.timings.queue_ns
        self.duration_ns += duration_ns
        self.duration_buckets[bisect_left(_DURATION_BUCKETS_NS, duration_ns)] += 1
