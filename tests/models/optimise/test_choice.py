"""The choice by limits, and the sentence that says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.models.optimise.choice import Candidate, Limits, choose

ORIGINAL = Candidate("original", 0.0, 0.0, 0.0, 10.0, 20_000_000, 400)
STATIC = Candidate("int8-static", 0.004, 0.001, 0.009, 7.0, 5_000_000, 400)
FOUR = Candidate("int4-weights", 0.03, 0.02, 0.04, 5.0, 3_000_000, 400)


def test_an_allowed_drop_gives_the_variant_that_gains_most_within_it() -> None:
    chosen = choose(ORIGINAL, [STATIC, FOUR], Limits(most_drop=0.01))
    assert chosen.name == "int8-static"
    assert chosen.why == (
        "int8-static: 4.0x smaller, 1.4x faster, loses 0.4 % (0.1 to 0.9 %); smaller or faster ones lose more than 1 %"
    )
    assert choose(ORIGINAL, [STATIC, FOUR], Limits(most_drop=0.05)).name == "int4-weights"


def test_a_limit_of_time_or_size_gives_the_most_accurate_that_keeps_it() -> None:
    assert choose(ORIGINAL, [STATIC, FOUR], Limits(most_ms=7.5)).name == "int8-static"
    assert choose(ORIGINAL, [STATIC, FOUR], Limits(most_bytes=4_000_000)).name == "int4-weights"
    assert choose(ORIGINAL, [STATIC, FOUR], Limits(most_ms=12)).name == "original"


def test_a_sample_that_is_too_small_for_the_limit_is_told_of() -> None:
    unsure = Candidate("int8-static", 0.0, 0.0, 0.016, 7.0, 5_000_000, 234)
    assert "234 rows cannot rule out more than 1 %" in choose(ORIGINAL, [unsure], Limits(most_drop=0.01)).why


def test_where_nothing_keeps_the_limits_the_nearest_is_named() -> None:
    chosen = choose(ORIGINAL, [STATIC, FOUR], Limits(most_drop=0.001, most_ms=6.0))
    assert chosen.name is None
    assert chosen.why == (
        "no variant keeps a loss of at most 0.1 %, 6 ms a row; nearest is original: loses 0 %, 10 ms a row, 20 MB"
    )


candidates = st.builds(
    Candidate,
    st.text("abc", min_size=1, max_size=3),
    st.floats(-0.05, 0.3),
    st.just(-0.1),
    st.just(0.4),
    st.floats(0.1, 100),
    st.integers(1000, 10**9),
    st.just(100),
)


@given(
    st.lists(candidates, max_size=6),
    st.floats(0, 0.2) | st.none(),
    st.floats(0.1, 100) | st.none(),
    st.integers(1000, 10**9) | st.none(),
)
def test_what_is_chosen_keeps_every_limit_and_there_is_a_choice_where_something_does(
    others: list[Candidate], drop: float | None, ms: float | None, size: int | None
) -> None:
    limits = Limits(drop, ms, size)
    keeps = [
        each
        for each in [ORIGINAL, *others]
        if (drop is None or each.loss <= drop)
        and (ms is None or each.ms <= ms)
        and (size is None or each.bytes <= size)
    ]
    chosen = choose(ORIGINAL, others, limits)
    assert (chosen.name in {each.name for each in keeps}) if keeps else chosen.name is None
    assert chosen.why


@pytest.mark.parametrize(("ms", "said"), [(10.2, "as fast"), (20.0, "2.0x slower"), (2.5, "4.0x faster")])
def test_times_are_said_as_people_say_them(ms: float, said: str) -> None:
    other = Candidate("fp16", 0.0, 0.0, 0.001, ms, 10_000_000, 400)
    assert said in choose(ORIGINAL, [other], Limits(most_bytes=10_000_000)).why
