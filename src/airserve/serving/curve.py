"""How long a batch takes: the service-time curve t(n) ≈ a·n + b of one deployment.

A sans-IO estimator: it is told what was measured and asked what to expect. Batches of about the same size share a
running mean, and the curve is the least-squares line through the means, weighted by 1/t² so that the relative error
counts. A mean that has not been renewed for long weighs less, and never nothing: after an hour of single calls the
curve still knows what a batch of thirty-two costs. (One stream with exponential forgetting would not: without
excitation it forgets the slope and follows the noise; Haykin, Adaptive Filter Theory, ch. 9.)
"""

from __future__ import annotations

import math

_WORTHWHILE = 0.2
_NEAR_ASYMPTOTE = 0.05
_LEAST_GAIN = 0.05
_HARDLY_MORE = 0.1
_WORTH_GROWING = 0.15
_HALF_LIFE = 100
_LEAST_WEIGHT = 1e-3


class _Mean:
    """Batches whose sizes have the same number of binary digits: 1, 2–3, 4–7, 8–15 rows and so on."""

    __slots__ = ("count", "ns", "rows", "seen")

    def __init__(self) -> None:
        self.rows = self.ns = 0.0
        self.count = 0.0
        self.seen = 0

    def add(self, rows: int, ns: int, now: int) -> None:
        self.count = self.count * 0.5 ** ((now - self.seen) / _HALF_LIFE) + 1.0
        self.seen = now
        gain = max(1.0 / self.count, _LEAST_GAIN)
        self.rows += (rows - self.rows) * gain
        self.ns += (ns - self.ns) * gain


class ServiceCurve:
    """Fitted at warm-up, kept current by every batch; times in nanoseconds, n in rows."""

    __slots__ = ("_means", "_observations", "per_batch_ns", "per_row_ns")

    def __init__(self) -> None:
        self._means: dict[int, _Mean] = {}
        self._observations = 0
        self.per_row_ns = 0.0
        self.per_batch_ns = 0.0

    def observe(self, rows: int, ns: int) -> None:
        """A batch of `rows` took `ns`."""
        self._observations += 1
        size = rows.bit_length()
        mean = self._means.get(size)
        if mean is None:
            mean = self._means[size] = _Mean()
        mean.add(rows, ns, self._observations)
        self._fit()

    def _fit(self) -> None:
        w = n = nn = t = nt = 0.0
        for mean in self._means.values():
            rows, ns = mean.rows, mean.ns
            age = self._observations - mean.seen
            weight = max(0.5 ** (age / _HALF_LIFE), _LEAST_WEIGHT) / (ns * ns + 1.0)
            w += weight
            n += weight * rows
            nn += weight * rows * rows
            t += weight * ns
            nt += weight * rows * ns
        spread = w * nn - n * n
        if spread <= 1e-9 * w * nn:
            # One size alone tells nothing of the other.
            self.per_row_ns, self.per_batch_ns = nt / nn, 0.0
            return
        slope = (w * nt - n * t) / spread
        intercept = (t - slope * n) / w
        if intercept < 0.0:
            slope, intercept = nt / nn, 0.0
        elif slope <= 0.0:
            slope, intercept = 0.0, t / w
        self.per_row_ns, self.per_batch_ns = slope, intercept

    def predict(self, rows: int) -> int:
        """The expected nanoseconds of a batch of `rows`; 0 while nothing was measured."""
        return int(self.per_row_ns * rows + self.per_batch_ns)

    def best_batch(self, limit: int) -> int:
        """The smallest batch that has nearly all that batching can gain, at most `limit` rows.

        One where the cost of a batch (b) is under a fifth of a single call's time (a + b): such a model gains
        nothing that would pay for the waiting. Otherwise the n at which b/n is 5 % of a. This is a first choice, from
        a quiet warm-up; `better_batch` corrects it.
        """
        a, b = self.per_row_ns, self.per_batch_ns
        if limit <= 1 or b <= _WORTHWHILE * (a + b):
            return 1
        if a <= 0.0:
            return limit
        return min(limit, max(1, math.ceil(b / (_NEAR_ASYMPTOTE * a))))

    def better_batch(self, rows: int, limit: int) -> int:
        """Half of `rows` where that costs hardly more a row, twice as many where that saves something, else `rows`.

        It compares what was measured at these sizes, never the line: under load the line's intercept is a small
        difference of large, noisy times, and would send a convolution into batches that cost more than they save.
        Under load a run also waits for the processor, whatever it computes; about a tenth of a row's cost that way is
        no saving, since the work that it waits for comes all the same.
        """
        here = self._row_ns(rows)
        if here is None:
            return rows
        half = self._row_ns(rows // 2)
        if half is not None and half <= here * (1 + _HARDLY_MORE):
            return rows // 2
        double = min(2 * rows, limit)
        ahead = self._row_ns(double)
        return double if ahead is not None and ahead < here * (1 - _WORTH_GROWING) else rows

    def _row_ns(self, rows: int) -> float | None:
        """What a row costs in batches of about this size."""
        mean = self._means.get(rows.bit_length())
        return mean.ns / mean.rows if mean is not None else None
