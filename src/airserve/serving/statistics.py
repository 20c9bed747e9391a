"""What one version has done since it was first loaded: plain counters, read by metrics and statistics pages."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable

from airserve.core.call import Reply
from airserve.core.errors import AirserveError

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
_DURATION_BUCKETS_NS = [int(bound * 1e9) for bound in DURATION_BUCKETS_S]


class Stages:
    """How often the three stages were done, and how long each took in all: tensors put together, model run, outputs
    cut apart."""

    __slots__ = ("count", "infer_ns", "input_ns", "output_ns")

    def __init__(self) -> None:
        self.count = self.input_ns = self.infer_ns = self.output_ns = 0

    def add(self, count: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """`count` more, with these times each."""
        self.count += count
        self.input_ns += count * input_ns
        self.infer_ns += count * infer_ns
        self.output_ns += count * output_ns


class Statistics:
    """Counts since the first load; times in nanoseconds. Written under the deployment's lock.

    `requests` counts the stages once for each call of a batch, as a client saw them; `by_size` once for each run, by
    its rows. `last_ns` (UTC) is when the last call ended, 0 before the first. `charged` is in nano-units by currency,
    `refused` counts the calls that a limit or a budget kept out, by the code of the error. `variants` counts the
    calls and the rows that each variant answered, where several are served. `watch`, where there is one, is told of
    each call with its duration as it ends; it must take no time.
    """

    __slots__ = (
        "_refusing", "batch_buckets", "by_size", "charged", "compute_ns", "duration_buckets", "duration_ns",
        "executions", "failed_ns", "failures", "inferences", "last_ns", "queue_ns", "refused", "requests", "rows",
        "successes", "unrecorded", "variants", "watch",
    )  # fmt: skip

    def __init__(self) -> None:
        self.successes = self.inferences = self.executions = self.rows = 0
        self.queue_ns = self.compute_ns = self.duration_ns = self.failed_ns = self.unrecorded = self.last_ns = 0
        self.requests = Stages()
        self.by_size: dict[int, Stages] = {}
        self.failures: dict[str, int] = {}
        self.watch: Callable[[int, Reply | AirserveError], None] | None = None
        self.charged: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.variants: dict[str, tuple[int, int]] = {}
        # Refusals happen on event loops, before the deployment and its lock.
        self._refusing = threading.Lock()
        self.duration_buckets = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.batch_buckets = [0] * (len(BATCH_BUCKETS) + 1)

    def batch(
        self, rows: int, compute_ns: int | None, *, calls: int = 1, input_ns: int = 0, output_ns: int = 0
    ) -> None:
        """One run of the model for `calls` calls; `compute_ns` is None where it failed."""
        if compute_ns is None:
            return
        self.executions += 1
        self.rows += rows
        self.compute_ns += compute_ns
        self.batch_buckets[bisect_left(BATCH_BUCKETS, rows)] += 1
        self.requests.add(calls, input_ns, compute_ns, output_ns)
        by_size = self.by_size.get(rows)
        if by_size is None:
            by_size = self.by_size[rows] = Stages()
        by_size.add(1, input_ns, compute_ns, output_ns)

    def charge(self, currency: str, nano: int) -> None:
        """Calls that were recorded cost this."""
        if nano:
            self.charged[currency] = self.charged.get(currency, 0) + nano

    def refuse(self, error: AirserveError) -> None:
        """A call was kept out by a limit or a budget. May be called from any thread."""
        with self._refusing:
            self.refused[error.code] = self.refused.get(error.code, 0) + 1

    def call(self, rows: int, duration_ns: int, result: Reply | AirserveError) -> None:
        """One call that was accepted, or refused by the queue, has ended."""
        self.last_ns = time.time_ns()
        if self.watch is not None:
            self.watch(duration_ns, result)
        if isinstance(result, AirserveError):
            self.failures[result.code] = self.failures.get(result.code, 0) + 1
            self.failed_ns += duration_ns
            return
        self.successes += 1
        self.inferences += rows
        self.queue_ns += result.timings.queue_ns
        self.duration_ns += duration_ns
        self.duration_buckets[bisect_left(_DURATION_BUCKETS_NS, duration_ns)] += 1
        if result.variant:
            calls, of_variant = self.variants.get(result.variant, (0, 0))
            self.variants[result.variant] = calls + 1, of_variant + rows
