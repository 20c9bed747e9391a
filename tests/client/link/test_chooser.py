"""The choice among plans: floor, deadline, preference, hysteresis, exploration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.client.link.chooser import DEFAULT_FLOOR, Chooser, Prefer
from airserve.client.link.plan import Costs, Option, Plan, Prediction
from airserve.core.errors import InvalidInputError


def option(name: str, p95_s: float, accuracy: float | None = 1.0, size: float = 1000, joules: float = 1.0) -> Option:
    prediction = Prediction(p95_s / 1.5, p95_s, size, joules)
    return Option(Plan("cloud", name), accuracy, Costs(up_bytes=size), prediction)


def still() -> Chooser:
    return Chooser(explore=0.0)


plans = st.lists(
    st.builds(option, st.text(max_size=3), st.floats(0.001, 2), st.none() | st.floats(0, 1), st.floats(1, 1e6)),
    max_size=8,
)


@given(plans, st.floats(0, 1), st.none() | st.floats(0.01, 2), st.sampled_from(["latency", "bytes", "energy"]))
def test_nothing_below_the_floor_is_ever_taken(
    options: list[Option], floor: float, deadline_s: float | None, prefer: Prefer
) -> None:
    raw = option("raw", 1.0)
    choice = Chooser(seed=1, explore=0.5).choose([raw, *options], floor=floor, deadline_s=deadline_s, prefer=prefer)
    taken = choice.option.accuracy
    assert taken is not None
    assert taken >= floor - 1e-6


def test_without_a_floor_one_answer_in_a_hundred_may_be_worse_and_no_more() -> None:
    raw, good, poor = option("raw", 0.5), option("int8", 0.2, DEFAULT_FLOOR), option("int2", 0.1, 0.9)
    assert still().choose([raw, good, poor]).option is good
    assert still().choose([raw, good, poor], floor=0.85).option is poor
    assert still().choose([raw, good, poor], floor=1.0).option is raw


def test_what_cannot_reach_the_floor_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidInputError, match="floor"):
        still().choose([option("int2", 0.1, None)], floor=0.5)


def test_bytes_are_saved_only_where_the_deadline_allows() -> None:
    fast, small = option("int8", 0.05, size=50_000), option("webp:60", 0.2, size=9_000)
    assert still().choose([fast, small], prefer="bytes").option is small
    assert still().choose([fast, small], prefer="bytes", deadline_s=0.1).option is fast
    late = still().choose([fast, small], prefer="bytes", deadline_s=0.01)
    assert late.option is fast
    assert not late.in_time


def test_a_plan_is_kept_for_little_and_left_for_more() -> None:
    before, little, much = option("a", 0.100), option("b", 0.098), option("c", 0.09)
    assert still().choose([before, little], last=before.plan).option is before
    assert still().choose([before, little]).option is little
    assert still().choose([before, much], last=before.plan).option is much


def test_exploration_is_rare_repeatable_and_off_when_time_is_short() -> None:
    best, other, slow = option("a", 0.10), option("b", 0.15), option("c", 0.9)

    def explored(seed: int, deadline_s: float | None) -> list[str]:
        chooser = Chooser(seed=seed)
        choices = [chooser.choose([best, other, slow], deadline_s=deadline_s) for _ in range(1000)]
        return [choice.option.plan.codec for choice in choices if choice.explored]

    seen = explored(7, None)
    assert 3 <= len(seen) <= 40
    assert set(seen) == {"b"}
    assert seen == explored(7, None)
    assert explored(7, 0.12) == []
