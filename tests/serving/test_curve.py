from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.serving.curve import ServiceCurve


def fitted(time_of: dict[int, float]) -> ServiceCurve:
    curve = ServiceCurve()
    for rows, ns in time_of.items():
        curve.observe(rows, int(ns))
    return curve


@given(st.integers(100, 10**7), st.integers(0, 10**8))
def test_a_straight_line_is_found_again(per_row: int, per_batch: int) -> None:
    curve = fitted({rows: per_row * rows + per_batch for rows in (1, 2, 4, 8, 16, 32)})
    assert curve.predict(64) == pytest.approx(64 * per_row + per_batch, rel=0.02)


def test_a_model_whose_batches_save_nothing_is_not_batched() -> None:
    # A convolution on a CPU: a batch of 32 costs more per row than a single one.
    curve = fitted({1: 3.2e6, 2: 6.6e6, 4: 13.8e6, 8: 29e6, 16: 62e6, 32: 138e6})
    assert curve.best_batch(32) == 1


def test_a_model_bound_by_reading_its_weights_is_batched_as_far_as_allowed() -> None:
    # Two 4,096-wide dense layers: one row reads 134 MB, and so do 32.
    curve = fitted({rows: 12e6 + 0.8e6 * rows for rows in (1, 2, 4, 8, 16, 32)})
    assert curve.best_batch(64) == 64


def test_a_batch_stops_growing_where_nothing_is_gained() -> None:
    curve = fitted({rows: 1e6 + 1e6 * rows for rows in (1, 2, 4, 8, 16, 32)})
    assert 15 <= curve.best_batch(1000) <= 25


def test_noise_of_a_tenth_does_not_turn_a_convolution_into_a_batchable_model() -> None:
    draw = random.Random(1)
    for _ in range(100):
        noisy = {rows: 3.2e6 * rows * draw.uniform(0.95, 1.05) for rows in (1, 2, 4, 8, 16, 32)}
        assert fitted(noisy).best_batch(32) == 1


def test_a_machine_that_becomes_twice_as_slow_is_noticed_from_batches_of_one_size() -> None:
    curve = fitted({rows: 1e6 + 1e5 * rows for rows in (1, 2, 4, 8, 16, 32)})
    for _ in range(1000):
        curve.observe(8, 3_600_000)
    assert curve.predict(8) == pytest.approx(3.6e6, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 10**10)), min_size=1, max_size=50))
def test_whatever_was_measured_the_curve_is_finite_and_never_falls(seen: list[tuple[int, int]]) -> None:
    curve = ServiceCurve()
    for rows, ns in seen:
        curve.observe(rows, ns)
    predictions = [curve.predict(rows) for rows in (1, 2, 8, 64)]
    assert predictions == sorted(predictions)
    assert predictions[0] >= 0
    assert 1 <= curve.best_batch(16) <= 16


def test_a_larger_batch_is_kept_only_where_it_was_measured_to_save_something() -> None:
    saves = fitted({rows: 12e6 + 0.8e6 * rows for rows in (1, 2, 4, 8, 16, 32)})
    assert [saves.better_batch(rows, 32) for rows in (1, 4, 16, 32)] == [2, 8, 32, 32]
    saves_nothing = fitted({1: 3.9e6, 2: 7.6e6, 4: 15e6, 8: 31e6})
    assert [saves_nothing.better_batch(rows, 32) for rows in (1, 2, 8)] == [1, 1, 4]


def test_a_size_that_was_never_run_is_neither_grown_into_nor_left() -> None:
    curve = fitted({8: 10e6})
    assert curve.better_batch(8, 32) == 8
    assert curve.better_batch(4, 32) == 4
    assert ServiceCurve().better_batch(1, 32) == 1


def test_noise_under_load_moves_a_convolution_by_one_size_and_back() -> None:
    draw = random.Random(2)
    curve = fitted({rows: 3.1e6 * rows for rows in (1, 2, 4, 8, 16, 32)})
    rows, seen = 1, []
    for step in range(2000):
        ran = 2 * rows if step % 64 == 0 else rows
        curve.observe(ran, int(3.7e6 * ran * draw.uniform(0.8, 1.2)))
        rows = curve.better_batch(rows, 32)
        seen.append(rows)
    assert seen.count(1) > 1000
    assert max(seen) <= 4
