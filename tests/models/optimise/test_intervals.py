"""Intervals hold what they promise: 95 of 100 contain the truth, and they are never empty where chance has a say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from airserve.models.optimise.intervals import bootstrap, paired_difference, wilson


@given(st.integers(1, 5000).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_a_proportion_lies_in_its_interval_which_is_never_empty(counted: tuple[int, int]) -> None:
    hits, rows = counted
    low, high = wilson(hits, rows)
    assert 0 <= low <= hits / rows <= high <= 1
    assert low < high


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    # Newcombe, 1998, table I: 81 of 263 and 15 of 148, score method without continuity correction.
    assert np.allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    assert np.allclose(wilson(15, 148), (0.0624, 0.1605), atol=5e-5)


def test_95_of_100_intervals_contain_the_true_proportion() -> None:
    # Over many truths: at a single one the steps of counts make it a few in a hundred more or less.
    truths = np.random.default_rng(1).uniform(0.5, 1, 4000)
    hits = np.random.default_rng(2).binomial(200, truths)
    intervals = [wilson(int(each), 200) for each in hits]
    inside = [low <= truth <= high for truth, (low, high) in zip(truths, intervals, strict=True)]
    assert 0.94 < np.mean(inside) < 0.97


def test_95_of_100_intervals_contain_the_true_loss_of_pairs() -> None:
    random = np.random.default_rng(2)
    inside = []
    for _ in range(1000):
        before = random.random(300) < 0.9
        after = np.where(random.random(300) < 0.05, ~before, before)
        low, high = paired_difference(before, after)
        inside.append(low <= 0.05 * 0.9 - 0.05 * 0.1 <= high)
    assert np.mean(inside) > 0.93


def test_pairs_without_a_difference_still_leave_room_for_one() -> None:
    low, high = paired_difference(np.ones(50, bool), np.ones(50, bool))
    assert low < 0 < high < 0.06


def test_resampling_finds_the_standard_error_of_a_mean_and_repeats_itself() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ values / 400

    low, high = bootstrap(400, mean)
    error = 1.96 * values.std() / 20
    assert np.allclose((low, high), (values.mean() - error, values.mean() + error), atol=0.03)
    assert (low, high) == bootstrap(400, mean)
