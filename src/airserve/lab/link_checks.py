"""What every link obeys, whoever described it."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import pairwise

from airserve.core.errors import BadTraceError
from airserve.lab.link import GilbertElliott, Link, Opportunities, Timeline


def check_link(link: Link) -> None:
    """Raise BadTraceError for values that no link has."""
    for name, way in (("up", link.up), ("down", link.down)):
        _check_capacity(name, way.capacity)
        if way.queue_bytes <= 0 or way.jitter_s < 0 or way.grant_s < 0:
            raise BadTraceError(f"{link.name}: {name}: queue_bytes must be more than 0, jitter_s and grant_s not less.")
        chances = astuple(way.loss) if isinstance(way.loss, GilbertElliott) else (way.loss,)
        if not all(0 <= chance <= 1 for chance in chances):
            raise BadTraceError(f"{link.name}: {name}: a loss must lie between 0 and 1.")
    if not 576 <= link.mtu <= 65_000:
        raise BadTraceError(f"{link.name}: mtu must lie between 576 and 65000.")


def _check_capacity(way: str, capacity: Timeline | Opportunities) -> None:
    if isinstance(capacity, Opportunities):
        times = capacity.times_ms
        if not times or times[-1] <= 0 or times[0] < 0 or any(b < a for a, b in pairwise(times)):
            raise BadTraceError(f"{way}: times_ms must not decrease, and the last must be more than 0.")
        return
    starts = [segment.start_s for segment in capacity.segments]
    rising = all(b > a for a, b in pairwise(starts))
    if not starts or starts[0] != 0 or not rising or starts[-1] >= capacity.period_s:
        raise BadTraceError(f"{way}: start_s must begin at 0, increase and stay under period_s.")
    for place, segment in enumerate(capacity.segments):
        finite = math.isfinite(segment.rate_bps) and math.isfinite(segment.delay_s)
        if not finite or segment.rate_bps < 0 or segment.delay_s < 0 or not 0 <= segment.loss <= 1:
            raise BadTraceError(
                f"{way}: value {place}: rates and delays are not negative, a loss lies between 0 and 1."
            )
