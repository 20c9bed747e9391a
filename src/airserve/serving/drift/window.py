"""How far the calls of the last hour lie from the model's baseline: histograms in a ring of slices of time.

Memory is bounded by the figures that the baseline has, never by the calls; no row is kept. Time comes in as an
argument.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from airserve.core.call import Array
from airserve.models.baseline import Baseline
from airserve.serving.drift.stability import MODERATE, SIGNIFICANT, Stability, stability

SLICE_NS = 300 * 10**9
SLICES = 12
LEAST_ROWS = 100
LEAST_CALLS = 20
"""Rows of one call are much alike: a few large calls say little of what all inputs look like."""

_CHANCE = 0.001
"""How often any figure of a model may pass its limit by chance, in one comparison."""

Level = Literal["few calls", "none", "moderate", "significant"]


class StatisticDrift(msgspec.Struct, frozen=True):
    """How one figure drifted. `expected` is the mean PSI of rows of the baseline's own distribution: chance alone.

    `before` and `now` are the shares of its bins, between the `edges`, the last being what is missing.
    """

    name: str
    psi: float
    expected: float
    level: Level
    edges: tuple[float, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


class DriftReport(msgspec.Struct, frozen=True):
    """Every figure, the worst first. `rows` of `calls` were looked at in the last `window_s` seconds.

    `centroid` is how far the mean embedding moved, in mean distances of the baseline's rows from their own centre, less
    what chance gives; None where there is no embedding.
    """

    rows: int
    calls: int
    window_s: float
    baseline_rows: int
    centroid: float | None
    statistics: tuple[StatisticDrift, ...]

    @property
    def largest_psi(self) -> float:
        """Of all statistics."""
        return max((each.psi for each in self.statistics), default=0.0)

    @property
    def drifted(self) -> tuple[str, ...]:
        """The figures whose change is large and beyond chance, the worst first."""
        return tuple(each.name for each in self.statistics if each.level == "significant")


class DriftWindow:
    """Counts rows of the last `SLICES` slices of time against `baseline`. Not for several threads at once."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        figures = baseline.statistics
        self._edge_counts = np.array([len(each.edges) for each in figures])
        self._bins = int(self._edge_counts.max()) + 2
        self._edges = np.full((len(figures), self._bins - 2), np.inf)
        self._before = np.zeros((len(figures), self._bins), np.int64)
        for at, each in enumerate(figures):
            self._edges[at, : len(each.edges)] = each.edges
            self._before[at, : len(each.counts)] = each.counts
        self._starts = np.arange(len(figures)) * self._bins
        self._counts = np.zeros((SLICES, len(figures), self._bins), np.int64)
        self._rows = np.zeros(SLICES, np.int64)
        self._calls = np.zeros(SLICES, np.int64)
        self._vectors = np.zeros((SLICES, 0 if baseline.embedding is None else len(baseline.embedding.center)))
        # Which slice of time each place of the ring holds.
        self._slices = np.full(SLICES, -1, np.int64)

    def add(self, values: Array, now_ns: int, vectors: Array | None = None) -> None:
        """Take in one call's figures [n, F] (NaN is missing), and its embeddings [n, d] where the model has some."""
        at = self._place(now_ns)
        self._counts[at] += self._histogram(values)
        self._rows[at] += len(values)
        self._calls[at] += 1
        if vectors is not None:
            self._vectors[at] += vectors.sum(axis=0)

    def report(self, now_ns: int) -> DriftReport:
        """How the last hour compares with the baseline."""
        current = self._slices > now_ns // SLICE_NS - SLICES
        now = self._counts[current].sum(axis=0)
        rows, calls = int(self._rows[current].sum()), int(self._calls[current].sum())
        found = stability(self._before, now, chance=_CHANCE / len(now))
        few = rows < LEAST_ROWS or calls < LEAST_CALLS
        ranked = [self._statistic(at, now[at], found, few) for at in np.argsort(-found.psi, kind="stable").tolist()]
        # What is beyond chance comes before what is only large.
        ranked.sort(key=lambda each: each.level != "significant")
        return DriftReport(
            rows=rows,
            calls=calls,
            window_s=SLICES * SLICE_NS / 1e9,
            baseline_rows=self._baseline.rows,
            centroid=self._centroid(self._vectors[current].sum(axis=0), rows),
            statistics=tuple(ranked),
        )

    def _place(self, now_ns: int) -> int:
        """The place in the ring of this slice of time, emptied where it held an older one."""
        number = now_ns // SLICE_NS
        at = number % SLICES
        if self._slices[at] != number:
            self._slices[at] = number
            self._counts[at] = self._rows[at] = self._calls[at] = self._vectors[at] = 0
        return at

    def _histogram(self, values: Array) -> Array:
        bins = (values[:, :, None] >= self._edges).sum(axis=2)
        bins = np.where(np.isnan(values), self._edge_counts + 1, np.minimum(bins, self._edge_counts))
        flat = np.bincount((bins + self._starts).ravel(), minlength=self._before.size)
        return flat.reshape(self._before.shape)

    def _statistic(self, at: int, counts: Array, found: Stability, few: bool) -> StatisticDrift:
        statistic = self._baseline.statistics[at]
        psi, width = float(found.psi[at]), len(statistic.counts)
        return StatisticDrift(
            name=statistic.name,
            psi=round(psi, 4),
            expected=round(float(found.expected[at]), 4),
            level="few calls" if few else _level(psi, beyond_chance=psi > found.limit[at]),
            edges=statistic.edges,
            before=_shares(self._before[at, :width]),
            now=_shares(counts[:width]),
        )

    def _centroid(self, total: Array, rows: int) -> float | None:
        embedding = self._baseline.embedding
        if embedding is None or not rows:
            return None
        square = float(np.square(total / rows - np.array(embedding.center)).sum()) / (embedding.spread or 1.0)
        # Half of the baseline's rows made its centre.
        chance = 1 / rows + 2 / self._baseline.rows
        return round(math.sqrt(max(0.0, square - chance)), 4)


def _level(psi: float, *, beyond_chance: bool) -> Level:
    if not beyond_chance or psi < MODERATE:
        return "none"
    return "significant" if psi > SIGNIFICANT else "moderate"


def _shares(counts: Array) -> tuple[float, ...]:
    total = max(int(counts.sum()), 1)
    return tuple(round(count / total, 4) for count in counts.tolist())
