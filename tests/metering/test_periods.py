"""Each call is in exactly one month, whatever the calendar, its clock or a retry does."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.metering.periods import bounds_ns, next_period, period_of

LAST_NS = bounds_ns("2249-11")[1] - 1


def ns(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("moment", "period"),
    [
        ("2024-02-29 23:59:59", "2024-02"),
        ("2024-03-01 00:00:00", "2024-03"),
        ("2023-02-28 23:59:59", "2023-02"),
        ("2026-12-31 23:59:59", "2026-12"),
        ("2027-01-01 00:00:00", "2027-01"),
        ("2016-12-31 23:59:59", "2016-12"),  # before a leap second
        ("2026-03-29 01:30:00", "2026-03"),  # an hour that a local clock leaves out
        ("2100-02-28 23:59:59", "2100-02"),  # 2100 is no leap year
        ("2100-03-01 00:00:00", "2100-03"),
    ],
)
def test_the_last_second_of_a_month_is_in_it_and_the_next_one_is_not(moment: str, period: str) -> None:
    assert period_of(ns(moment)) == period
    assert period_of(ns(moment) + 999_999_999) == period


@given(st.integers(0, LAST_NS))
def test_every_nanosecond_is_within_the_bounds_of_its_own_month_and_of_no_other(moment: int) -> None:
    period = period_of(moment)
    start, end = bounds_ns(period)
    assert start <= moment < end
    assert bounds_ns(next_period(period))[0] == end
    assert period_of(end) == next_period(period) > period


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-00", "26-01", "2026-1", "2026-01-01", "٢٠٢٦-01", "9999-12"]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="write it like 2026-01"):
        bounds_ns(text)
