"""How sure one may be of a rate while its samples still come: bounds that hold at every moment at once.

A test that is made for one look, such as Clopper-Pearson's, errs far more often than it says when it is looked at after
every call. Here the evidence against "the rate is at most p" is a likelihood ratio that is averaged over rates above p:

    E(n, k) = mean over q of (q/p)^k · ((1-q)/(1-p))^(n-k),   k of n samples being bad

While the rate is at most p, E is a nonnegative supermartingale that begins at 1, whatever depends on what, as long as
each sample is bad with a probability of at most p given those before. So the probability that it ever reaches 1/α is at
most α (Ville's inequality), and one may look after every call and stop whenever one likes. It depends on n and k alone:
counts of several servers add up.

Sources: Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970), §2
(the method of mixtures); Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Ann. Stat. 49 (2021); Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting",
JRSS-B 86 (2024).
"""

from __future__ import annotations

import math

_POINTS = 12
_NEAREST, _WIDEST = 0.3, 3.0
_FARTHEST = 5.3
"""Distances in log-odds: of the rates that the mixture is over, and 5.3 is a rate of 99.5 %."""

_HALVINGS = 40


def log_evidence(bad: int, count: int, limit: float) -> float:
    """The natural logarithm of E against "at most `limit` of all are bad", 0 < limit < 1."""
    at = _log_odds(limit)
    step = (max(_FARTHEST - at, _WIDEST) - _NEAREST) / (_POINTS - 1)
    ratios = []
    for point in range(_POINTS):
        odds = at + _NEAREST + point * step
        # log q = -log(1 + e^-odds), log(1 - q) = -log(1 + e^odds).
        gain, loss = _softplus(-at) - _softplus(-odds), _softplus(at) - _softplus(odds)
        ratios.append(bad * gain + (count - bad) * loss)
    highest = max(ratios)
    return highest + math.log(sum(math.exp(each - highest) for each in ratios) / _POINTS)


def is_above(bad: int, count: int, limit: float, alpha: float) -> bool:
    """Whether the rate is above `limit`; wrong with probability `alpha` at most, however often it is asked."""
    return count > 0 and log_evidence(bad, count, limit) >= -math.log(alpha)


def is_below(bad: int, count: int, limit: float, alpha: float) -> bool:
    """Whether the rate is below `limit`; wrong with probability `alpha` at most, however often it is asked."""
    return is_above(count - bad, count, 1 - limit, alpha)


def lower_bound(bad: int, count: int, alpha: float) -> float:
    """What the rate is above of, with confidence 1 - `alpha` at all times at once; 0 where nothing bad was seen."""
    if not bad:
        return 0.0
    low, high = -30.0, _log_odds(min(bad / count, 1 - 1e-12))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if is_above(bad, count, _rate(middle), alpha):
            low = middle
        else:
            high = middle
    return _rate(low)


def upper_bound(bad: int, count: int, alpha: float) -> float:
    """What the rate is below of, with confidence 1 - `alpha` at all times at once."""
    return 1 - lower_bound(count - bad, count, alpha)


def samples_until_below(bad: int, count: int, limit: float, alpha: float) -> int:
    """How many more samples, none of them bad, until `is_below` holds; 0 where it does."""
    if is_below(bad, count, limit, alpha):
        return 0
    few, many = 0, 1
    while not is_below(bad, count + many, limit, alpha):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if is_below(bad, count + middle, limit, alpha):
            many = middle
        else:
            few = middle
    return many


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _log_odds(rate: float) -> float:
    return math.log(rate) - math.log1p(-rate)


def _rate(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
