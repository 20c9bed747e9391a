"""The population stability index: how far two histograms over the same bins are apart, and how far chance puts them.

PSI = Σ (p − q) ln(p / q) over the bins, p and q being their shares: the symmetric Kullback–Leibler divergence. By the
usual rule (Siddiqi, "Credit Risk Scorecards", 2006) below 0.1 is no change, above 0.25 a significant one. The rule
forgets how many rows there are. Of N and M rows of one and the same distribution over B bins, PSI / (1/N + 1/M) is
distributed as χ² with B − 1 degrees of freedom (Yurdakul, "Statistical Properties of Population Stability Index",
2018), so small samples pass 0.25 by chance. Here a change counts where it is both large and beyond chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from airserve.core.call import Array

MODERATE, SIGNIFICANT = 0.1, 0.25

_CONTINUITY = 0.5
"""Added to every bin: an empty one would be infinitely far from any other."""


@dataclass(frozen=True, slots=True)
class Stability:
    """Of each of F pairs of histograms: `psi`, and what of it is expected of one distribution, and at most.

    `limit` is passed by chance in one pair with the probability that was asked for.
    """

    psi: Array
    expected: Array
    limit: Array


def stability(before: Array, now: Array, *, chance: float) -> Stability:
    """Compare the counts of `now` with those `before`, both [F, bins]; a bin that is empty in both is none.

    Where either has no rows, psi is 0 and the limit infinite.
    """
    there = (before + now) > 0
    bins = there.sum(axis=1, keepdims=True)
    rows_before, rows_now = before.sum(axis=1), now.sum(axis=1)
    p, q = _shares(now, there, bins), _shares(before, there, bins)
    psi = ((p - q) * np.log(p / q)).sum(axis=1, where=there)
    known = (rows_before > 0) & (rows_now > 0)
    noise = 1 / np.maximum(rows_now, 1) + 1 / np.maximum(rows_before, 1)
    freedom = np.maximum(bins[:, 0] - 1, 1)
    return Stability(
        psi=np.where(known, psi, 0.0),
        expected=np.where(known, noise * (bins[:, 0] - 1), 0.0),
        limit=np.where(known, noise * chi_squared_quantile(freedom, 1 - chance), np.inf),
    )


def _shares(counts: Array, there: Array, bins: Array) -> Array:
    """Shares of each row's counts; 1 where there is no bin, so that its logarithm is 0."""
    total = counts.sum(axis=1, keepdims=True) + _CONTINUITY * bins
    return np.where(there, (counts + _CONTINUITY) / np.maximum(total, _CONTINUITY), 1.0)


def chi_squared_quantile(freedom: Array, share: float) -> Array:
    """The value that χ² with so many degrees of freedom stays below with probability `share`, to a few percent.

    Wilson & Hilferty, "The Distribution of Chi-square" (PNAS 17, 1931); in the far upper tail it is a little large.
    """
    z = NormalDist().inv_cdf(share)
    part = 2 / (9 * np.asarray(freedom, np.float64))
    return np.asarray(freedom * np.maximum(1 - part + z * np.sqrt(part), 0.0) ** 3)
