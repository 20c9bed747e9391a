"""The population stability index: what it is, and how far chance alone puts two samples apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2

from airserve.core.call import Array
from airserve.serving.drift.stability import chi_squared_quantile, stability

COUNTS = arrays(np.int64, (3, 8), elements=st.integers(0, 10_000))


def psi_by_hand(before: Array, now: Array) -> float:
    """Of two histograms without an empty bin, as the textbooks write it."""
    p, q = now / now.sum(), before / before.sum()
    return float(((p - q) * np.log(p / q)).sum())


@given(COUNTS, COUNTS)
def test_it_is_never_negative_and_the_same_both_ways(before: Array, now: Array) -> None:
    there, back = stability(before, now, chance=0.01), stability(now, before, chance=0.01)
    assert np.isfinite(there.psi).all() and (there.psi >= -1e-12).all()
    assert np.allclose(there.psi, back.psi)


@given(COUNTS, st.permutations(range(8)))
def test_the_order_of_bins_does_not_matter_and_equal_histograms_are_not_apart(counts: Array, order: list[int]) -> None:
    now = counts[:, ::-1]
    assert np.allclose(
        stability(counts, now, chance=0.01).psi, stability(counts[:, order], now[:, order], chance=0.01).psi
    )
    assert np.allclose(stability(counts, counts, chance=0.01).psi, 0.0)


@given(COUNTS, COUNTS)
def test_a_bin_that_is_empty_in_both_is_none(before: Array, now: Array) -> None:
    wider = [np.pad(each, ((0, 0), (0, 2))) for each in (before, now)]
    narrow, wide = stability(before, now, chance=0.01), stability(wider[0], wider[1], chance=0.01)
    assert np.allclose(narrow.psi, wide.psi) and np.array_equal(narrow.limit, wide.limit)


@given(arrays(np.int64, 8, elements=st.integers(2000, 90_000)), arrays(np.int64, 8, elements=st.integers(2000, 90_000)))
def test_of_many_rows_it_is_the_textbooks_sum(before: Array, now: Array) -> None:
    (found,) = stability(before[None], now[None], chance=0.01).psi
    assert found == pytest.approx(psi_by_hand(before, now), rel=0.02, abs=1e-4)


def test_without_rows_nothing_is_known() -> None:
    found = stability(np.array([[5, 5]]), np.array([[0, 0]]), chance=0.01)
    assert found.psi[0] == 0 and found.limit[0] == np.inf


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 0.9999, 1 - 1e-6])
def test_the_quantile_is_that_of_chi_squared(share: float) -> None:
    freedom = np.arange(1, 40)
    found, exact = chi_squared_quantile(freedom, share), chi2.ppf(share, freedom)
    assert (np.abs(found - exact) <= 0.15 * exact + 0.05).all()
    if share > 0.999:
        # Where it is off, it is so to the side of fewer alarms.
        assert (found >= exact * 0.995).all()


@pytest.mark.parametrize("rows", [100, 400, 3000])
def test_one_distribution_passes_the_limit_about_as_often_as_was_asked_for(rows: int) -> None:
    random = np.random.default_rng(rows)
    shares = random.dirichlet(np.full(10, 20.0), size=4000)
    before = random.multinomial(1500, shares)
    found = stability(before, random.multinomial(rows, shares), chance=0.01)
    assert np.mean(found.psi > found.limit) < 0.02
    assert np.mean(found.psi) == pytest.approx(np.mean(found.expected), rel=0.2)
