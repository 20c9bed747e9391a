"""How long a batch takes: the service-time curve t(n) ≈ a·n + b of one deployment.

A sans-IO estimator: it is told what was measured and asked what to expect. Least squares with forgetting
(Haykin, Adaptive Filter Theory, ch. 9), weighted by 1/t² so that the relative error counts, the same for a
batch of one as for a batch of sixty-four.
"""

from __future__ import annotations

import math

_FORGET = 0.99
_WORTHWHILE = 0.2
_NEAR_ASYMPTOTE = 0.05


class ServiceCurve:
    """Fitted at warm-up, kept current by every batch; times in nanoseconds, n in rows."""

    __slots__ = ("_n", "_nn", "_nt", "_t", "_w", "per_batch_ns", "per_row_ns")

    def __init__(self) -> None:
        self._w = self._n = self._nn = self._t = self._nt = 0.0
        self.per_row_ns = 0.0
        self.per_batch_ns = 0.0

    def observe(self, rows: int, ns: int) -> None:
        """A batch of `rows` took `ns`."""
        weight = 1.0 / (float(ns) * float(ns) + 1.0)
        self._w = self._w * _FORGET + weight
        self._n = self._n * _FORGET + weight * rows
        self._nn = self._nn * _FORGET + weight * rows * rows
        self._t = self._t * _FORGET + weight * ns
        self._nt = self._nt * _FORGET + weight * rows * ns
        self._fit()

    def _fit(self) -> None:
        spread = self._w * self._nn - self._n * self._n
        if spread <= 1e-6 * self._w * self._nn:
            self._rescale()
            return
        slope = (self._w * self._nt - self._n * self._t) / spread
        intercept = (self._t - slope * self._n) / self._w
        if intercept < 0.0:
            slope, intercept = self._nt / self._nn, 0.0
        elif slope <= 0.0:
            slope, intercept = 0.0, self._t / self._w
        self.per_row_ns, self.per_batch_ns = slope, intercept

    def _rescale(self) -> None:
        """All batches had one size: keep the shape of the curve and move it to the level seen."""
        rows, level = self._n / self._w, self._t / self._w
        expected = self.per_row_ns * rows + self.per_batch_ns
        if expected <= 0.0:
            self.per_row_ns = level / rows
            return
        self.per_row_ns *= level / expected
        self.per_batch_ns *= level / expected

    def predict(self, rows: int) -> int:
        """The expected nanoseconds of a batch of `rows`; 0 while nothing was measured."""
        return int(self.per_row_ns * rows + self.per_batch_ns)

    def best_batch(self, limit: int) -> int:
        """The smallest batch that has nearly all that batching can gain, at most `limit` rows.

        One where the cost of a batch (b) is under a fifth of a single call's time (a + b): such a model gains
        nothing that would pay for the waiting. Otherwise the n at which b/n is 5 % of a.
        """
        a, b = self.per_row_ns, self.per_batch_ns
        if limit <= 1 or b <= _WORTHWHILE * (a + b):
            return 1
        if a <= 0.0:
            return limit
        return min(limit, max(1, math.ceil(b / (_NEAR_ASYMPTOTE * a))))
