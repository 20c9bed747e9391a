"""The window of the last hour: what it counts, what it forgets, when it says that inputs have drifted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from airserve.core.call import Array
from airserve.models.baseline import Baseline, Statistic
from airserve.serving.drift.window import LEAST_CALLS, SLICE_NS, SLICES, DriftWindow
from tests.models.baselines import baseline_of_columns

CLOCK = st.lists(st.integers(0, 3 * SLICES * SLICE_NS), min_size=1, max_size=30)


def columns(random: np.random.Generator, rows: int) -> Array:
    """Sixteen columns: continuous, skewed, of few values, with one that is frequent, constant, with missing ones."""
    x = random.normal(size=(rows, 16))
    x[:, 4:8] = np.exp(2 * x[:, 4:8])
    x[:, 8:10] = np.round(x[:, 8:10])
    x[:, 10:12] = np.maximum(x[:, 10:12], 0)
    x[:, 12] = 7
    x[random.random(rows) < 0.1, 13] = np.nan
    return x


def drifted_after(window: DriftWindow, values: Array, *, calls: int = 60) -> tuple[str, ...]:
    for part in np.array_split(values, calls):
        window.add(part, 0)
    return window.report(0).drifted


@given(arrays(np.float64, (12, 2), elements=st.floats(-1e6, 1e6) | st.just(np.nan) | st.just(np.inf)))
def test_every_row_is_counted_in_the_bin_that_it_lies_in(values: Array) -> None:
    edges = ((-5.0, 0.0, 0.1, 300.0), (1.0,))
    baseline = Baseline(
        rows=9, statistics=(Statistic("a", edges[0], (1, 2, 1, 2, 2, 1)), Statistic("b", edges[1], (4, 5, 0)))
    )
    window = DriftWindow(baseline)
    window.add(values, 0)
    now = {each.name: each.now for each in window.report(0).statistics}
    for at, (name, ends) in enumerate(zip("ab", edges, strict=True)):
        known = values[~np.isnan(values[:, at]), at]
        wanted = [
            np.sum((known >= low) & (known < high)) for low, high in zip((-np.inf, *ends), (*ends, np.inf), strict=True)
        ]
        wanted[-1] += np.sum(np.isposinf(known))
        assert now[name] == pytest.approx([*(np.array(wanted) / 12), 1 - len(known) / 12], abs=1e-4)


@given(CLOCK)
def test_what_is_older_than_an_hour_is_forgotten_and_nothing_else(moments: Sequence[int]) -> None:
    window = DriftWindow(Baseline(rows=100, statistics=(Statistic("a", (0.0,), (50, 50, 0)),)))
    moments = sorted(moments)
    for moment in moments:
        window.add(np.ones((2, 1)), moment)
    now = moments[-1] + SLICE_NS // 2
    oldest = (now // SLICE_NS - SLICES + 1) * SLICE_NS
    report = window.report(now)
    assert report.calls == sum(moment >= oldest for moment in moments)
    assert report.rows == 2 * report.calls
    assert window.report(now + SLICES * SLICE_NS).rows == 0


def test_calls_like_the_baseline_raise_no_alarm_however_often_one_looks() -> None:
    random = np.random.default_rng(1)
    alarms = looks = 0
    for _ in range(25):
        window = DriftWindow(baseline_of_columns(columns(random, 1400)))
        for _ in range(40):
            for part in np.array_split(columns(random, 20), 5):
                window.add(part, 0)
            alarms += bool(window.report(0).drifted)
            looks += 1
    assert alarms == 0, f"{alarms} of {looks}"


@pytest.mark.parametrize(
    ("column", "change"),
    [
        (0, lambda x: x + 1),
        (1, lambda x: x * 3),
        (2, lambda x: np.full_like(x, np.nan)),
        (5, lambda x: x * 5),
        (8, lambda x: x + 1),
        (10, lambda x: np.maximum(x, 1.0)),
        (12, lambda x: x + 0.001),
        (13, lambda x: np.nan_to_num(x, nan=30.0)),
    ],
)
def test_a_column_that_changed_is_named_and_the_others_are_not(column: int, change: Callable[[Array], Array]) -> None:
    random = np.random.default_rng(2)
    window = DriftWindow(baseline_of_columns(columns(random, 1400)))
    values = columns(random, 1200)
    values[:, column] = change(values[:, column])
    assert drifted_after(window, values) == (f"c{column}",)


def test_few_calls_say_nothing_however_many_rows_they_have() -> None:
    random = np.random.default_rng(3)
    window = DriftWindow(baseline_of_columns(columns(random, 1400)))
    assert drifted_after(window, columns(random, 5000) + 9, calls=LEAST_CALLS - 1) == ()
    assert {each.level for each in window.report(0).statistics} == {"few calls"}
    window.add(columns(random, 1) + 9, 0)
    assert len(window.report(0).drifted) > 10


def test_the_worst_comes_first_and_a_large_change_by_chance_is_none() -> None:
    random = np.random.default_rng(4)
    window = DriftWindow(baseline_of_columns(columns(random, 1400)))
    values = columns(random, 110)
    values[:, 3] += 2
    assert drifted_after(window, values, calls=30)[0] == "c3"
    first, *others = window.report(0).statistics
    assert (first.name, first.level) == ("c3", "significant")
    # Of so few rows, chance alone gives what a rule of thumb would call a moderate change.
    assert any(each.psi > 0.1 and each.level == "none" for each in others)
