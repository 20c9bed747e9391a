"""Standard scaling of inputs (and of a regression's targets): zero mean, about unit variance, per column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Scaling:
    """x ↦ (x − mean) / deviation; both (columns,), float32. A constant column has deviation 1 and becomes 0."""

    mean: Array
    deviation: Array

    def apply(self, x: Array) -> Array:
        """The scaled x, float32."""
        return ((x.astype(np.float32, copy=False) - self.mean) / self.deviation).astype(np.float32, copy=False)

    def undo(self, x: Array) -> Array:
        """The inverse of `apply`."""
        return x * self.deviation + self.mean


def fit_scaling(x: Array) -> Scaling:
    """The scaling that gives the rows of x (N, columns) mean 0 and variance 1.

    A column that is nearly always the same has a tiny deviation, and its rare values would become huge. So the
    deviation is never taken for less than a quarter of the column's range; a uniform column has 0.29 of it.
    """
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    deviation = np.maximum(deviation, (x.max(axis=0) - x.min(axis=0)) / 4)
    deviation[deviation < 1e-7 * np.maximum(1, np.abs(mean))] = 1
    return Scaling(mean.astype(np.float32), deviation.astype(np.float32))


def range_scaling(low: float, high: float, columns: int) -> Scaling:
    """The scaling that brings `low` … `high` of every column to −1 … 1: it looks at no data, so it gives none away."""
    if not low < high:
        raise TrainingError(f"a range goes from a smaller to a larger number, not from {low:g} to {high:g}")
    middle, half = np.float32((low + high) / 2), np.float32((high - low) / 2)
    return Scaling(np.full(columns, middle), np.full(columns, half))


def check_finite(x: Array, what: str) -> None:
    """Refuse NaN and infinity, naming the first place."""
    bad = ~np.isfinite(x)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        raise TrainingError(f"{what} hold {int(bad.sum())} values that are no numbers (NaN, infinity), the first at "
                            f"{place}; fill them in or drop those rows")  # fmt: skip
