"""The parts that timelines are made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.lab.generator import gaps, on_quantiles, wander
from airserve.lab.profile_figures import Handovers, Outages


@given(seed=st.integers(0, 2**32), up=st.floats(0, 0.3), down=st.floats(0, 0.3), every_s=st.floats(5, 60))
def test_gaps_lie_in_order_inside_the_period(seed: int, up: float, down: float, every_s: float) -> None:
    found = gaps(np.random.default_rng(seed), Outages(up, down), Handovers(every_s), 300.0)
    assert all(0 <= gap.start_s < gap.end_s <= 300.0 + 1e-6 for gap in found)
    assert all(before.end_s <= after.start_s for before, after in pairwise(found))


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 0.3))
def test_outages_take_their_share_of_the_time(seed: int, share: float) -> None:
    found = gaps(np.random.default_rng(seed), Outages(share, 0.0), None, 300.0)
    assert sum(gap.end_s - gap.start_s for gap in found) == pytest.approx(share * 300.0, rel=0.01)
    assert not any(gap.both_ways for gap in found)


@pytest.mark.parametrize("correlation", [1.0, 10.0, 40.0])
def test_what_wanders_is_normal_and_forgets_at_the_set_pace(correlation: float) -> None:
    scores = wander(np.random.default_rng(1), 20_000, correlation)
    assert scores.mean() == pytest.approx(0.0, abs=1e-6)
    assert scores.std() == pytest.approx(1.0, rel=0.01)
    lag = round(correlation)
    assert np.corrcoef(scores[:-lag], scores[lag:])[0, 1] == pytest.approx(np.exp(-1), abs=0.1)


@given(p5=st.floats(0.1, 10), middle=st.floats(1.1, 20), top=st.floats(1.1, 20), below=st.floats(0, 0.04))
def test_quantiles_come_out_as_they_went_in(p5: float, middle: float, top: float, below: float) -> None:
    wanted = (p5, p5 * middle, p5 * middle * top)
    scores = wander(np.random.default_rng(2), 4000, 0.0)
    values = on_quantiles(scores, tuple(zip((5, 50, 95), wanted, strict=True)), below=below)
    everything = np.concatenate((np.zeros(round(4000 * below / (1 - below))), values))
    assert np.percentile(everything, [5, 50, 95]) == pytest.approx(wanted, rel=0.05)
