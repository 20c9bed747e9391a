"""Timelines drawn from the quantiles of measured links: the same seed gives the same link.

A link is up, or in an outage or a hand-over gap (an alternating renewal process: exponential up times, lognormal
gaps). While it is up, rate and delay wander: an AR(1) process of normal scores is mapped onto the measured quantiles.
The scores are made exactly normal by their ranks and the lengths of the outages are stratified, so that each
timeline, not only many of them together, has the figures it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from airserve.lab.link import Segment, Timeline
from airserve.lab.profile_figures import Handovers, Outages, Quantiles

Floats = NDArray[np.float64]

LONGEST_OUTAGE_S = 10.0
_SHORTEST_TOTAL_S = 0.01
_SCORE_OF_P95 = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True)
class Gap:
    """From `start_s` until `end_s` nothing is carried; a hand-over stops both ways, an outage perhaps only one."""

    start_s: float
    end_s: float
    both_ways: bool


def wander(rng: np.random.Generator, steps: int, correlation_steps: float) -> Floats:
    """Draw an AR(1) path of `steps` standard normal scores whose correlation falls to 1/e in `correlation_steps`.

    The path's values are replaced by the normal scores of their ranks (a Gaussian copula).
    """
    keep = float(np.exp(-1.0 / correlation_steps)) if correlation_steps > 0 else 0.0
    shocks = rng.standard_normal(steps) * np.sqrt(1.0 - keep * keep)
    path = np.empty(steps)
    value = float(rng.standard_normal())
    for step in range(steps):
        value = keep * value + shocks[step]
        path[step] = value
    return _normal_scores(path)


def on_quantiles(scores: Floats, quantiles: Quantiles, *, below: float = 0.0) -> Floats:
    """Map normal scores on a distribution given by (percentile, value) pairs, linear in the value's logarithm.

    `below` is the share of the time in which the value is 0 already: the scores stand for the rest.
    Values stay within a range that is a little wider than the one of the quantiles.
    """
    normal = NormalDist()
    points = [(normal.inv_cdf(percent / 100.0), value) for percent, value in quantiles if percent / 100.0 > below]
    at = np.array([score for score, _ in points])
    logs = np.log([value for _, value in points])
    shares = below + (1.0 - below) * np.array([normal.cdf(score) for score in scores])
    wanted = np.array([normal.inv_cdf(min(max(share, 1e-6), 1 - 1e-6)) for share in shares])
    return np.exp(_line(wanted, at, logs))


def _line(wanted: Floats, at: Floats, logs: Floats) -> Floats:
    """Interpolate, and beyond the ends go on with the slope of the last piece, for at most one score (then flat)."""
    if len(at) == 1:
        return np.full(len(wanted), logs[0])
    inside = np.interp(wanted, at, logs)
    low = (logs[1] - logs[0]) / (at[1] - at[0])
    high = (logs[-1] - logs[-2]) / (at[-1] - at[-2])
    under = np.clip(at[0] - wanted, 0.0, 1.0)
    over = np.clip(wanted - at[-1], 0.0, 1.0)
    extended: Floats = inside - low * under + high * over
    return extended


def gaps(rng: np.random.Generator, outages: Outages, handovers: Handovers | None, period_s: float) -> tuple[Gap, ...]:
    """Draw the gaps of one period, in the order of time and without overlap."""
    share, common = max(outages.share_up, outages.share_down), min(outages.share_up, outages.share_down)
    lengths = _lengths(rng, outages.p50_s, outages.p95_s, share * period_s)
    stops_both = _first_share(lengths, common / share if share else 0.0)
    short = _handover_lengths(rng, handovers, period_s)
    drawn = [(length, both) for length, both in zip(lengths, stops_both, strict=True)] + [(s, True) for s in short]
    order = rng.permutation(len(drawn))
    up = rng.exponential(1.0, len(drawn) + 1)
    left = period_s - sum(length for length, _ in drawn)
    up *= left / up.sum()
    found, now = [], 0.0
    for place, index in enumerate(order):
        length, both = drawn[int(index)]
        now += float(up[place])
        found.append(Gap(now, now + length, both))
        now += length
    return tuple(found)


def timeline(rates_bps: Floats, delays_s: Floats, silent: tuple[Gap, ...], period_s: float) -> Timeline:
    """Put rates and delays, one a step, and the gaps of this way into one timeline of `period_s`."""
    step_s = period_s / len(rates_bps)
    starts = {round(step * step_s, 6): step for step in range(len(rates_bps))}
    edges = set(starts)
    for gap in silent:
        edges = {edge for edge in edges if not gap.start_s <= edge < gap.end_s}
        edges |= {round(gap.start_s, 6), round(gap.end_s, 6)}
    silent_from = {round(gap.start_s, 6) for gap in silent}
    segments = []
    for edge in sorted(edges):
        step = min(int((edge + 1e-9) / step_s), len(rates_bps) - 1)
        rate = 0.0 if edge in silent_from else float(rates_bps[step])
        if edge < period_s:
            segments.append(Segment(edge, rate, float(delays_s[step])))
    return Timeline(tuple(segments), period_s)


def _normal_scores(path: Floats) -> Floats:
    normal, steps = NormalDist(), len(path)
    sorted_scores = np.array([normal.inv_cdf((rank + 0.5) / steps) for rank in range(steps)])
    scores = np.empty(steps)
    scores[np.argsort(path, kind="stable")] = sorted_scores
    return scores


def _lengths(rng: np.random.Generator, p50_s: float, p95_s: float, total_s: float) -> list[float]:
    """Draw lognormal lengths that together take `total_s`, one from each of equal shares of the distribution."""
    if total_s < _SHORTEST_TOTAL_S:
        return []
    sigma = float(np.log(p95_s / p50_s)) / _SCORE_OF_P95
    count = max(round(total_s / (p50_s * float(np.exp(sigma * sigma / 2)))), 1)
    shares = (np.arange(count) + rng.random(count)) / count
    scores = np.array([NormalDist().inv_cdf(min(max(float(share), 1e-6), 1 - 1e-6)) for share in shares])
    lengths = np.minimum(p50_s * np.exp(sigma * scores), LONGEST_OUTAGE_S)
    return [float(length) for length in rng.permutation(lengths * (total_s / lengths.sum()))]


def _first_share(lengths: list[float], share: float) -> list[bool]:
    """Mark the first of the lengths until they make up `share` of all of them."""
    before = np.concatenate(([0.0], np.cumsum(lengths)))[:-1]
    return [bool(start + length / 2 < share * sum(lengths)) for start, length in zip(before, lengths, strict=True)]


def _handover_lengths(rng: np.random.Generator, handovers: Handovers | None, period_s: float) -> list[float]:
    if handovers is None:
        return []
    count = max(round(period_s / handovers.every_s), 1)
    sigma = float(np.log(handovers.p95_s / handovers.p50_s)) / _SCORE_OF_P95
    return [float(length) for length in handovers.p50_s * np.exp(sigma * rng.standard_normal(count))]
