"""Ready-made links by name, made from measured figures: `profile("5g-mmwave-driving", seed=3)`."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from airserve.core.errors import InvalidInputError
from airserve.lab.generator import Floats, Gap, gaps, on_quantiles, timeline, wander
from airserve.lab.link import Direction, Link, Segment, Timeline
from airserve.lab.profile_figures import FIGURES, Figures, Quantiles
from airserve.lab.trace import queue_bytes

PERIOD_S = 300.0
STEP_S = 0.1
IDEAL = "ideal"
_IDEAL_BPS = 10e9
_UP_WITH_DOWN = 0.5  # Assumed: a good place is good for both ways, but the uplink is limited by power too.


def names() -> tuple[str, ...]:
    """Names of the profiles; `ideal` is a link without limits, to compare with."""
    return (*FIGURES, IDEAL)


@lru_cache(maxsize=64)
def profile(name: str, seed: int = 0) -> Link:
    """Make the link of that name, 300 s in steps of 100 ms; the same seed gives the same link.

    Raises InvalidInputError for a name that is none of `names()`.
    """
    if name == IDEAL:
        way = Direction(Timeline((Segment(0.0, _IDEAL_BPS, 0.0),), 1.0), queue_bytes=queue_bytes(_IDEAL_BPS, 0.1))
        return Link(name=IDEAL, up=way, down=way, source="no limits")
    if name not in FIGURES:
        raise InvalidInputError(f"There is no link profile '{name}'. Profiles: {', '.join(names())}.")
    figures = FIGURES[name]
    # Two profiles of the same seed must not share their luck.
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    steps = round(PERIOD_S / STEP_S)
    silent = gaps(rng, figures.outages, figures.handovers, PERIOD_S)
    down_scores = wander(rng, steps, figures.correlation_s / STEP_S)
    own = wander(rng, steps, figures.correlation_s / STEP_S)
    up_scores = _standard(_UP_WITH_DOWN * down_scores + np.sqrt(1 - _UP_WITH_DOWN**2) * own)
    up_delays, down_delays = _delays(rng, figures, steps)
    return Link(
        name=name,
        up=_way(figures, figures.up_mbps, figures.outages.share_up, up_scores, up_delays, silent, figures.grant_s),
        down=_way(figures, figures.down_mbps, figures.outages.share_down, down_scores, down_delays, silent, 0.0),
        radio=figures.radio,
        source=figures.source,
        tags=figures.tags,
    )


def _way(
    figures: Figures,
    mbps: Quantiles,
    outage_share: float,
    scores: Floats,
    delays_s: Floats,
    silent: tuple[Gap, ...],
    grant_s: float,
) -> Direction:
    others = figures.outages.share_up + figures.outages.share_down - outage_share
    mine = silent if outage_share >= others else tuple(gap for gap in silent if gap.both_ways)
    without = sum(gap.end_s - gap.start_s for gap in mine) / PERIOD_S
    rates = on_quantiles(scores, mbps, below=without) * 1e6
    median_bps = next(value for percent, value in mbps if percent == 50) * 1e6
    return Direction(
        timeline(rates, delays_s, mine, PERIOD_S),
        queue_bytes=queue_bytes(median_bps, figures.queue_s),
        grant_s=grant_s,
    )


def _delays(rng: np.random.Generator, figures: Figures, steps: int) -> tuple[Floats, Floats]:
    """One-way delays in seconds, up and down; of a round trip each takes half, less the grant that ping waited for."""
    scores = wander(rng, steps, figures.correlation_s / STEP_S)
    if figures.rtt_ms:
        half = (on_quantiles(scores, figures.rtt_ms) / 1e3 - figures.grant_s) / 2
        return np.maximum(half, 0.0), np.maximum(half, 0.0)
    return on_quantiles(scores, figures.up_ms) / 1e3, on_quantiles(scores, figures.down_ms) / 1e3


def _standard(scores: Floats) -> Floats:
    normal: Floats = (scores - scores.mean()) / scores.std()
    return normal
