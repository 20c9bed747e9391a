from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airserve.accounts.terms import Hardening
from airserve.serving.hardening import harden

FLOATS = arrays.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    arrays.array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-100, 100, width=16),
)


@given(FLOATS, st.integers(1, 8), st.integers(0, 8))
def test_what_stays_is_the_largest_rounded_and_nothing_else(array: np.ndarray, k: int, decimals: int) -> None:
    before = array.copy()
    hardened = harden({"p": array}, Hardening(top_k=k, decimals=decimals))["p"]
    assert hardened.shape == array.shape and hardened.dtype == array.dtype
    np.testing.assert_array_equal(array, before)
    steps = hardened.astype(np.float64) * 10**decimals
    tolerance = np.finfo(array.dtype).eps * np.maximum(1, np.abs(steps))
    assert (np.abs(steps - np.round(steps)) <= tolerance).all()
    if array.ndim == 1:
        return
    for row, given_row in zip(hardened.reshape(-1, array.shape[-1]), array.reshape(-1, array.shape[-1]), strict=True):
        largest = np.sort(given_row)[::-1][:k].astype(np.float64)
        wanted = np.round(largest, decimals).astype(array.dtype)
        rest = np.zeros(len(row) - len(wanted), array.dtype)
        np.testing.assert_array_equal(np.sort(row), np.sort(np.concatenate([wanted, rest])))


def test_of_equal_values_the_first_stay_so_the_label_does() -> None:
    outputs = harden({"p": np.array([[0.4, 0.4, 0.2]], np.float32)}, Hardening(top_k=1))
    assert outputs["p"].tolist() == [[np.float32(0.4), 0, 0]]


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.array([[b"a", b"b"]], object), np.array([[True]])])
def test_labels_and_counts_are_left_as_they_are(array: np.ndarray) -> None:
    assert harden({"y": array}, Hardening(top_k=1, decimals=0))["y"] is array


def test_a_plan_without_hardening_costs_nothing() -> None:
    outputs = {"p": np.ones((2, 3), np.float32)}
    assert harden(outputs, Hardening(calls_per_key_per_day=5)) is outputs


def test_a_linear_model_cannot_be_solved_from_hardened_answers() -> None:
    """The attack that full precision invites: as many questions as weights, and a system of equations."""
    draw = np.random.default_rng(3)
    weights = draw.normal(size=(8, 5))
    questions = draw.normal(size=(8, 8))
    answers = questions @ weights
    np.testing.assert_allclose(np.linalg.solve(questions, answers), weights, atol=1e-9)
    told = harden({"y": answers}, Hardening(top_k=1, decimals=1))["y"]
    assert np.abs(np.linalg.solve(questions, told) - weights).max() > 0.5
