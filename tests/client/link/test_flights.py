"""Slow start: what fits in the first flight waits for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.client.link.flights import INITIAL_WINDOW, flights, transfer_s

sizes = st.integers(0, 10_000_000)
trips = st.floats(0.001, 1.0)
rates = st.floats(1e4, 1e9)


def test_a_float_picture_takes_six_flights_and_a_byte_picture_four() -> None:
    fast = 1e9
    assert flights(602_112, INITIAL_WINDOW, 0.06, fast).rounds == 5
    assert flights(150_528, INITIAL_WINDOW, 0.06, fast).rounds == 3
    assert flights(INITIAL_WINDOW, INITIAL_WINDOW, 0.06, fast).rounds == 0


@given(sizes, trips, rates)
def test_slow_start_never_makes_faster_and_costs_at_most_a_trip_a_doubling(
    size: int, rtt_s: float, rate: float
) -> None:
    seconds = transfer_s(size, INITIAL_WINDOW, rtt_s, rate)
    assert seconds >= size / rate * (1 - 1e-9)
    assert seconds <= size / rate + rtt_s * 20


@given(sizes, sizes, trips, rates)
def test_more_bytes_take_no_less_time(one: int, other: int, rtt_s: float, rate: float) -> None:
    small, large = sorted((one, other))
    few, many = (transfer_s(size, INITIAL_WINDOW, rtt_s, rate) for size in (small, large))
    # A window that opens in the last flight may let it pass faster than the rate alone would: never by a round trip.
    assert many >= few - rtt_s
