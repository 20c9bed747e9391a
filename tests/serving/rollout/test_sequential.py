"""Bounds that hold at every moment at once: simulated, since that is what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.serving.rollout.sequential import (
    is_above,
    is_below,
    log_evidence,
    lower_bound,
    samples_until_below,
    upper_bound,
)

RATES = st.floats(0.001, 0.6)
COUNTS = st.integers(1, 3_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))


def alarms(limit: float, rate: float, alpha: float, *, samples: int, paths: int) -> float:
    """The part of `paths` sequences in which somebody who looks after every sample once sees an alarm."""
    needed, bad = np.empty(samples), 0
    for count in range(1, samples + 1):
        # The least number of bad ones that is too many only grows.
        while bad <= count and not is_above(bad, count, limit, alpha):
            bad += 1
        needed[count - 1] = bad
    seen = np.random.default_rng(7).random((paths, samples)) < rate
    return float(np.mean((np.cumsum(seen, axis=1) >= needed).any(axis=1)))


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.2])
def test_a_rate_at_its_limit_raises_an_alarm_in_fewer_than_five_of_a_hundred_rollouts(limit: float) -> None:
    assert alarms(limit, limit, 0.05, samples=3_000, paths=2_000) <= 0.05


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.2])
def test_a_rate_that_a_test_for_one_look_would_alarm_for_is_no_peeking_fallacy_here(limit: float) -> None:
    # The same sequences, looked at with a test that is made for one look: it errs several times as often.
    samples, paths = 3_000, 2_000
    bad = np.cumsum(np.random.default_rng(7).random((paths, samples)) < limit, axis=1)
    count = np.arange(1, samples + 1)
    z = (bad - limit * count) / np.sqrt(count * limit * (1 - limit))
    assert np.mean((z[:, 100:] > 1.645).any(axis=1)) > 0.2


@pytest.mark.parametrize(("limit", "rate", "samples"), [(0.005, 0.05, 300), (0.02, 0.2, 120), (0.02, 0.8, 8)])
def test_a_rate_far_above_its_limit_is_noticed_soon(limit: float, rate: float, samples: int) -> None:
    assert alarms(limit, rate, 0.05 / 15, samples=samples, paths=2_000) > 0.9


@given(RATES, st.floats(0, 1))
def test_the_evidence_is_a_fair_bet_against_a_rate_at_the_limit_and_a_losing_one_below(
    limit: float, share: float
) -> None:
    # The mean of E over one sample, for a rate of at most the limit: E is a supermartingale.
    rate = share * limit
    mean = rate * math.exp(log_evidence(1, 1, limit)) + (1 - rate) * math.exp(log_evidence(0, 1, limit))
    assert mean <= 1 + 1e-9


@given(COUNTS, RATES)
def test_nothing_is_both_above_and_below(seen: tuple[int, int], limit: float) -> None:
    assert not (is_above(*seen, limit, 0.05) and is_below(*seen, limit, 0.05))


@given(COUNTS)
def test_the_bounds_are_around_the_rate_that_was_seen(seen: tuple[int, int]) -> None:
    bad, count = seen
    assert 0 <= lower_bound(bad, count, 0.05) <= bad / count <= upper_bound(bad, count, 0.05) <= 1


@given(COUNTS, st.floats(0.01, 0.5))
def test_as_many_samples_as_it_says_are_needed_and_no_fewer(seen: tuple[int, int], limit: float) -> None:
    bad, count = seen
    more = samples_until_below(bad, count, limit, 0.05)
    assert is_below(bad, count + more, limit, 0.05)
    assert not more or not is_below(bad, count + more - 1, limit, 0.05)


def test_the_numbers_of_the_page() -> None:
    # docs/rollout.md says how many good calls each guard needs.
    assert [samples_until_below(0, 0, 3 * limit, 0.05) for limit in (0.005, 0.01, 0.02)] == [250, 124, 62]
