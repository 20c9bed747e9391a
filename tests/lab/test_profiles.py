"""The profiles have the figures that were measured, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest

from airserve.core.errors import InvalidInputError
from airserve.lab.generator import Floats
from airserve.lab.link import Direction
from airserve.lab.profile_table import quantiles, series
from airserve.lab.profiles import PERIOD_S, names, profile

SEEDS = (0, 1, 7, 2026)

# Measured 5th, 50th and 95th percentiles: down and up in Mbit/s, round trip in ms; None where nothing was measured.
MEASURED = {
    "lte": ((0, 16, 218), (3, 19, 61), (66, 72, 91)),
    "5g-nsa-lowband": ((21, 143, 201), (22, 77, 95), (37, 58, 89)),
    "5g-nsa-midband": ((2.1, 237, 807), (0.0, 33.6, 104.8), (45.6, 71.6, 142)),
    "5g-sa-midband": (None, (15, 90, 144), (13, 16, 24)),
    "5g-mmwave-walking": ((8, 503, 1420), (0, 33.3, 140), (11.3, 14.7, 27.7)),
    "5g-mmwave-driving": ((8, 503, 1420), (0, 64.6, 476), (13.3, 32.2, 49.6)),
}
# Share of the time under 1 Mbit/s, up: 6.5 % (CoNEXT'25), 16.3 % and 15.4 % (5G-MEMU'22).
SILENT = {"5g-nsa-midband": 0.065, "5g-mmwave-walking": 0.163, "5g-mmwave-driving": 0.154}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MEASURED)
def test_a_profile_has_the_measured_quantiles(name: str, seed: int) -> None:
    link = profile(name, seed)
    down, up, rtt = MEASURED[name]
    for way, measured in ((link.down, down), (link.up, up)):
        if measured is not None:
            shares, rates, _ = series(way)
            # Tolerance is as between quarters of an hour of one drive; a 5th percentile near 0 moves with one outage.
            assert quantiles(rates / 1e6, shares) == pytest.approx(measured, rel=0.15, abs=2.5)
    assert _round_trip_ms(link.up, link.down, link.up.grant_s) == pytest.approx(rtt, rel=0.08)


def _round_trip_ms(up: Direction, down: Direction, grant_s: float) -> Floats:
    (shares, _, delays), (_, _, back) = series(up), series(down)
    return quantiles((delays * 1e3), shares) + quantiles(back * 1e3, series(down)[0]) + grant_s * 1e3


@pytest.mark.parametrize("seed", SEEDS)
def test_one_way_delays_of_urllc_are_those_of_the_prototype(seed: int) -> None:
    link = profile("5g-urllc", seed)
    for way, p50, p99 in ((link.up, 0.67, 0.91), (link.down, 0.75, 1.06)):
        shares, _, delays = series(way)
        assert quantiles(delays * 1e3, shares, (50, 99)) == pytest.approx((p50, p99), rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SILENT)
def test_the_share_of_outages_is_the_measured_one(name: str, seed: int) -> None:
    shares, rates, _ = series(profile(name, seed).up)
    assert shares[rates < 1e6].sum() == pytest.approx(SILENT[name], abs=0.03)


@pytest.mark.parametrize("name", names())
def test_a_timeline_is_in_order_and_within_bounds(name: str) -> None:
    link = profile(name, 3)
    for way in (link.up, link.down):
        shares, rates, delays = series(way)
        assert shares.min() > 0
        assert shares.sum() == pytest.approx(1.0)
        assert rates.min() >= 0
        assert delays.min() >= 0
    assert link.source


def test_outages_last_as_long_as_measured() -> None:
    lasting: list[float] = []
    for seed in range(8):
        shares, rates, _ = series(profile("5g-nsa-midband", seed).up)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], rates == 0, [False]))))
        ends = np.concatenate(([0.0], np.cumsum(shares))) * PERIOD_S
        lasting += [float(ends[b] - ends[a]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    heavy = [length for length in lasting if length > 0.2]
    assert np.percentile(heavy, [50, 95]) == pytest.approx((0.5, 3.0), rel=0.4)
    assert np.median([length for length in lasting if length <= 0.2]) == pytest.approx(0.05, rel=0.5)


def test_the_same_seed_gives_the_same_link_and_another_another() -> None:
    profile.cache_clear()
    before = profile("5g-mmwave-driving", 5)
    profile.cache_clear()
    assert profile("5g-mmwave-driving", 5) == before
    assert profile("5g-mmwave-driving", 6) != before


def test_an_unknown_profile_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidInputError, match="5g-sa-midband"):
        profile("6g")
