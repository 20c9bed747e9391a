from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.models.splitting.transfer import FIRST_FLIGHT_BYTES, Uplink, call_s, upload_s

FAST = Uplink(1e9, 0.06)


def test_what_fits_in_the_first_flight_takes_half_a_round_trip_and_its_bits() -> None:
    assert upload_s(1000, Uplink(1e6, 0.06)) == pytest.approx(0.03 + 0.008)
    assert upload_s(FIRST_FLIGHT_BYTES, FAST) == pytest.approx(0.03, abs=0.001)


@pytest.mark.parametrize(("size", "flights"), [(13_840, 1), (25_000, 2), (96_000, 3), (150_528, 4), (602_112, 6)])
def test_a_fast_link_is_paid_in_flights(size: int, flights: int) -> None:
    assert upload_s(size, FAST) == pytest.approx(0.03 + (flights - 1) * 0.06, abs=0.004)


def test_a_slow_link_is_full_from_the_first_window_on() -> None:
    assert upload_s(100_000, Uplink(1e6, 0.05)) == pytest.approx(0.8 + 0.025)


@given(st.floats(1, 1e7), st.floats(1, 1e7), st.floats(1e4, 1e10), st.floats(0, 1))
def test_more_bytes_never_take_less_time_and_never_less_than_the_link_allows(
    size: float, more: float, rate_bps: float, rtt_s: float
) -> None:
    link = Uplink(rate_bps, rtt_s)
    assert upload_s(size + more, link) >= upload_s(size, link) - 1e-9
    assert upload_s(size, link) >= rtt_s / 2
    assert call_s(size, link) == pytest.approx(upload_s(size, link) + rtt_s / 2)
    # Windows overlap with the waiting for them, so only what one window sends can be missing.
    assert upload_s(size, link) * rate_bps / 8 >= size * 0.5 - FIRST_FLIGHT_BYTES
