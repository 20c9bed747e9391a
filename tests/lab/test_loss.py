from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.lab.link import GilbertElliott
from airserve.lab.loss import Loss, mean_loss

chances = st.floats(0.05, 0.95)


@settings(max_examples=20, deadline=None)
@given(st.builds(GilbertElliott, chances, chances, st.floats(0, 0.2), st.floats(0.5, 1)), st.integers(0, 100))
def test_losses_in_bursts_have_the_mean_of_the_formula(model: GilbertElliott, seed: int) -> None:
    loss = Loss(model, seed)
    assert sum(loss.loses() for _ in range(30_000)) / 30_000 == pytest.approx(mean_loss(model), abs=0.04)


def test_bad_runs_are_as_long_as_said() -> None:
    loss = Loss(GilbertElliott(0.01, 0.25), 3)
    runs = [len(list(run)) for lost, run in groupby(loss.loses() for _ in range(200_000)) if lost]
    assert sum(runs) / len(runs) == pytest.approx(4, rel=0.1)
    assert mean_loss(GilbertElliott(0.01, 0.25)) == pytest.approx(0.01 / 0.26)


def test_independent_losses_have_their_probability() -> None:
    loss = Loss(0.02, 5)
    assert sum(loss.loses() for _ in range(50_000)) / 50_000 == pytest.approx(0.02, rel=0.1)
    assert mean_loss(0.02) == 0.02


def test_a_link_that_loses_nothing_says_so() -> None:
    assert Loss(0.0, 1).never
    assert not Loss(GilbertElliott(0.1, 0.1), 1).never
    assert mean_loss(GilbertElliott(0.0, 0.0, 0.1)) == 0.1
