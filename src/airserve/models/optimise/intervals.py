"""95 % confidence intervals of what a sample shows.

All are exact functions of the sample: resampling draws with a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from airserve.core.call import Array

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

_DRAWS = 2000
_SEED = 20240229


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Of a proportion of `rows`; never empty, not even where all of them hit. Source: Wilson, 1927."""
    share, square = hits / rows, Z * Z / rows
    centre = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows)) / (1 + square)
    # Where every row hit, or none, the end is that; rounding would put it beside.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == rows else centre + half
    return max(low, 0.0), min(high, 1.0)


def paired_difference(before: Array, after: Array) -> tuple[float, float]:
    """Of the mean of `before` − `after`, hits (bool [rows]) of the same rows. Source: Agresti and Min, 2005, "+2"."""
    rows = len(before) + 2
    lost, won = int(np.sum(before & ~after)) + 0.5, int(np.sum(after & ~before)) + 0.5
    middle = (lost - won) / rows
    half = Z * math.sqrt(max(lost + won - (lost - won) ** 2 / rows, 0.0)) / rows
    return middle - half, middle + half


def bootstrap(rows: int, statistic: Callable[[Array], Array]) -> tuple[float, float]:
    """Of a statistic of rows, by percentiles of `_DRAWS` resamples. Source: Efron and Tibshirani, 1993, ch. 13.

    `statistic` is given the weights of the rows, how often each was drawn, float64 [draws, rows], and gives [draws].
    """
    random = np.random.default_rng(_SEED)
    weights = random.multinomial(rows, np.full(rows, 1 / rows), _DRAWS).astype(np.float64)
    low, high = np.quantile(statistic(weights), (0.025, 0.975))
    return float(low), float(high)
