"""The figures of links, read off the links themselves: what a list of profiles shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from airserve.lab.generator import Floats
from airserve.lab.link import Direction, Link, Opportunities
from airserve.lab.profiles import names, profile

_PERCENTS = (5, 50, 95)
_WINDOW_MS = 100


def rows(seed: int = 0) -> list[dict[str, Any]]:
    """One row a profile."""
    return [{"profile": name, **row(profile(name, seed))} for name in names()]


def row(link: Link) -> dict[str, Any]:
    """The 5th, 50th and 95th percentile over time of a link's rates (Mbit/s) and round trip (ms).

    `outage_percent` is the share of the time without any rate, up and down.
    Of delivery opportunities the rate is that of each tenth of a second.
    """
    up_weights, up_rates, up_delays = series(link.up)
    down_weights, down_rates, down_delays = series(link.down)
    up_s, down_s = (quantiles(d, w) for d, w in ((up_delays, up_weights), (down_delays, down_weights)))
    return {
        "up_mbps": _rounded(quantiles(up_rates / 1e6, up_weights)),
        "down_mbps": _rounded(quantiles(down_rates / 1e6, down_weights)),
        "rtt_ms": _rounded((up_s + down_s + link.up.grant_s) * 1e3),
        "outage_percent": _rounded(
            np.array(
                [
                    100 * shares[rates == 0].sum()
                    for shares, rates in ((up_weights, up_rates), (down_weights, down_rates))
                ]
            )
        ),
        "wake_s": link.radio.wake_s if link.radio else None,
        "grant_ms": round(link.up.grant_s * 1e3, 1),
        "source": link.source,
    }


def series(direction: Direction) -> tuple[Floats, Floats, Floats]:
    """Shares of the time, rates in bit/s and one-way delays in seconds of a direction, each of the same length."""
    capacity = direction.capacity
    if isinstance(capacity, Opportunities):
        edges = np.arange(0, capacity.times_ms[-1] + _WINDOW_MS, _WINDOW_MS)
        counts = np.histogram(capacity.times_ms, edges)[0]
        rates = counts * 1504 * 8 / (_WINDOW_MS / 1e3)
        return np.full(len(rates), 1 / len(rates)), rates, np.full(len(rates), capacity.delay_s)
    starts = np.array([segment.start_s for segment in capacity.segments])
    shares = np.diff(np.append(starts, capacity.period_s)) / capacity.period_s
    return (
        shares,
        np.array([segment.rate_bps for segment in capacity.segments]),
        np.array([segment.delay_s for segment in capacity.segments]),
    )


def quantiles(values: Floats, shares: Floats, percents: tuple[float, ...] = _PERCENTS) -> Floats:
    """Percentiles of values that hold for these shares of the time."""
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(shares[order])
    places = np.searchsorted(passed, np.array(percents) / 100 * passed[-1])
    found: Floats = values[order][np.minimum(places, len(values) - 1)]
    return found


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.3g}") if value < 1000 else float(round(value)) for value in values]
