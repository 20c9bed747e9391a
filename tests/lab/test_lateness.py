from __future__ import annotations

import pytest

from airserve.lab.lateness import LATE_S, Lateness, Oversleeps


def test_what_is_late_is_counted_and_the_latest_known() -> None:
    late = Lateness()
    for each in (0.0, 0.0005, 0.002, 0.003):
        late.add(each)
    assert late.summary() == {
        "packets": 4,
        "late_share": 0.5,
        "mean_s": pytest.approx(0.0055 / 4),
        "most_s": pytest.approx(0.003),
    }


def test_sleeps_that_are_always_too_long_become_what_is_usual() -> None:
    sleeps = Oversleeps()
    assert sleeps.usual_s == 0.0
    for _ in range(200):
        sleeps.add(0.0001)
    assert sleeps.usual_s == pytest.approx(0.0001, rel=0.01)


def test_a_busy_moment_or_a_clock_that_stood_still_moves_it_little() -> None:
    sleeps = Oversleeps()
    sleeps.add(5.0)
    assert sleeps.usual_s <= 0.05 * LATE_S
    sleeps.add(-1.0)
    assert 0.0 <= sleeps.usual_s < LATE_S
