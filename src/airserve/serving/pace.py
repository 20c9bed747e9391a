"""How fast one variant of a model is, and how many rows a batch of it should have. Sans-IO; times in nanoseconds."""

from __future__ import annotations

from airserve.serving.curve import ServiceCurve

_TRY_EVERY = 64
"""One full batch in so many is a trial."""

_FORGIVE_AFTER = 32
"""Who is passed over so often is thought half as much slower than when it was loaded."""

_AS_HOPED = 1.25
"""Who takes no longer than this much of what was hoped stays forgiven, until the curve knows it too."""


class Pace:
    """The measured curve of a variant, and `batch_rows`, the most rows of its next batch."""

    __slots__ = ("_batches", "_passed", "_quiet_batch_ns", "_quiet_row_ns", "batch_rows", "curve", "max_rows")

    def __init__(self, curve: ServiceCurve, max_rows: int) -> None:
        self.curve = curve
        self.max_rows = max_rows
        self.batch_rows = curve.best_batch(max_rows)
        self._batches = 0
        self._quiet_row_ns, self._quiet_batch_ns = curve.per_row_ns, curve.per_batch_ns
        self._passed = 0

    @property
    def row_ns(self) -> float:
        """What a row costs in batches of the size that pays."""
        return self.curve.predict(self.batch_rows) / self.batch_rows

    def next_rows(self, waiting: int) -> int:
        """`batch_rows`; in a trial, with a backlog, twice or half as many in turn: what is never run is not known."""
        if waiting < self.batch_rows:
            return self.batch_rows
        self._batches += 1
        trial, not_yet = divmod(self._batches, _TRY_EVERY)
        if not_yet:
            return self.batch_rows
        return min(2 * self.batch_rows, self.max_rows) if trial % 2 else max(1, self.batch_rows // 2)

    def observe(self, rows: int, ns: int) -> None:
        """A batch of `rows` took `ns`."""
        if ns > self.hoped_ns(rows) * _AS_HOPED:
            self._passed = 0
        self.curve.observe(rows, ns)
        self.batch_rows = self.curve.better_batch(self.batch_rows, self.max_rows)

    def passed_over(self) -> None:
        """It was too slow for a batch, although nothing else waited."""
        self._passed += 1

    def hoped_ns(self, rows: int) -> int:
        """What a batch of `rows` is thought to take by who decides whether to run it.

        `predict`, but for a variant that is never run because it once was slow: it would stay slow in our books for
        ever. The more often it is passed over, the nearer this comes to what it took when it was loaded.
        """
        now_ns = self.curve.predict(rows)
        if not self._passed:
            return now_ns
        quiet_ns = min(now_ns, int(self._quiet_row_ns * rows + self._quiet_batch_ns))
        return int(quiet_ns + (now_ns - quiet_ns) * 0.5 ** (self._passed / _FORGIVE_AFTER))
