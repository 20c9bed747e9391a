from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.metering.billing_clock import HOLD_NS, BillingClock


def stamps(clock: list[int], last_ns: int = 0) -> list[int]:
    moments = iter(clock)
    billing = BillingClock(last_ns, lambda: next(moments))
    return [billing.now_ns() for _ in clock]


def test_a_clock_that_goes_back_holds_its_last_stamp_until_it_has_caught_up() -> None:
    assert stamps([100, 90, 95, 100, 101]) == [100, 100, 100, 100, 101]


def test_a_clock_that_was_set_back_between_two_starts_is_held_too() -> None:
    assert stamps([90, 110], last_ns=100) == [100, 110]


def test_a_clock_that_was_far_ahead_and_is_set_right_is_followed() -> None:
    ahead = 2 * HOLD_NS
    assert stamps([ahead, 5, 6]) == [ahead, 5, 6]


@given(st.lists(st.integers(0, HOLD_NS), max_size=50))
def test_stamps_never_fall_as_long_as_no_step_back_is_beyond_the_bound(clock: list[int]) -> None:
    given_ = stamps(clock)
    assert given_ == sorted(given_)
    assert all(stamp >= moment for stamp, moment in zip(given_, clock, strict=True))
