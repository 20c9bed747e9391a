"""The estimate against links that are known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.client.link.estimate import Exchange, LinkEstimate
from airserve.client.link.flights import INITIAL_WINDOW, transfer_s

SIZES = (900, 12_000, 25_000, 60_000, 150_000)


class SyntheticLink:
    """Calls over a link with a constant round trip and rate, and some jitter."""

    def __init__(self, rtt_s: float, rate: float, jitter: float, seed: int) -> None:
        self.rtt_s, self.rate, self.jitter = rtt_s, rate, jitter
        self.random = random.Random(seed)
        self.now = 0.0

    def seconds(self, size: int) -> float:
        return self.rtt_s + transfer_s(size, INITIAL_WINDOW, self.rtt_s, self.rate)

    def call(self, size: int | None = None) -> Exchange:
        size = self.random.choice(SIZES) if size is None else size
        seconds = self.seconds(size) * self.random.lognormvariate(0, self.jitter)
        self.now += seconds + 0.05
        return Exchange(self.now, size, 400, seconds, 0.0)


def expected(estimate: LinkEstimate, size: int) -> float:
    return estimate.rtt_s + transfer_s(size, INITIAL_WINDOW, estimate.rtt_s, estimate.up_rate)


@given(st.floats(0.01, 0.3), st.floats(1.0, 200.0), st.integers(0, 99))
def test_it_predicts_any_link_within_a_quarter_or_20_ms_after_fifteen_calls(
    rtt_s: float, mbps: float, seed: int
) -> None:
    link = SyntheticLink(rtt_s, mbps * 125_000, 0.08, seed)
    estimate = LinkEstimate()
    for _ in range(15):
        estimate.add(link.call())
    for size in (900, 25_000, 150_000):
        assert expected(estimate, size) == pytest.approx(link.seconds(size), rel=0.25, abs=0.02)


@given(st.integers(0, 99))
def test_round_trip_and_rate_are_told_apart(seed: int) -> None:
    link = SyntheticLink(0.06, 12.5e6 / 8, 0.05, seed)
    estimate = LinkEstimate()
    for step in range(20):
        # In slow start the round trip rules; only bodies of many flights tell much of the rate.
        estimate.add(link.call((*SIZES, 600_000)[step % 6]))
    assert estimate.rtt_s == pytest.approx(0.06, rel=0.2)
    assert estimate.up_rate == pytest.approx(12.5e6 / 8, rel=0.3)
    assert estimate.sure_up_rate <= estimate.up_rate


@given(
    st.sampled_from([(0.06, 30.0, 0.06, 2.0), (0.06, 1.0, 0.06, 60.0), (0.03, 40.0, 0.25, 40.0)]), st.integers(0, 99)
)
def test_a_hand_over_is_noticed_within_five_calls(change: tuple[float, float, float, float], seed: int) -> None:
    rtt_s, mbps, new_rtt_s, new_mbps = change
    link = SyntheticLink(rtt_s, mbps * 125_000, 0.08, seed)
    estimate = LinkEstimate()
    for _ in range(20):
        estimate.add(link.call(60_000))
    before = estimate.changes
    link.rtt_s, link.rate = new_rtt_s, new_mbps * 125_000
    for _ in range(5):
        estimate.add(link.call(60_000))
    assert estimate.changes > before
    for _ in range(5):
        estimate.add(link.call(60_000))
    assert expected(estimate, 60_000) == pytest.approx(link.seconds(60_000), rel=0.3)


@given(st.integers(0, 99))
def test_one_lost_packet_is_no_hand_over(seed: int) -> None:
    link = SyntheticLink(0.05, 3e6, 0.05, seed)
    estimate = LinkEstimate()
    for _ in range(12):
        estimate.add(link.call(25_000))
    changes, before = estimate.changes, expected(estimate, 25_000)
    late = link.call(25_000)
    estimate.add(Exchange(late.at, late.up_bytes, 400, late.head_s + 1.2, 0.0))
    assert estimate.changes == changes
    assert expected(estimate, 25_000) == pytest.approx(before, rel=0.15)
    assert estimate.loss > 0


def test_a_sleeping_radio_is_learnt_and_does_not_spoil_the_round_trip() -> None:
    link = SyntheticLink(0.05, 3e6, 0.02, 1)
    estimate = LinkEstimate()
    for _ in range(8):
        estimate.add(link.call(12_000))
    before = estimate.rtt_s
    assert estimate.wake_s(15.0) == 0.0
    for _ in range(3):
        slept = link.call(12_000)
        estimate.add(Exchange(slept.at, 12_000, 400, slept.head_s + 1.4, 0.0, idle_s=15.0))
    assert estimate.wake_s(15.0) == pytest.approx(1.4, rel=0.1)
    assert estimate.wake_s(3.0) == 0.0
    assert estimate.rtt_s == before


def test_no_answer_in_time_makes_the_estimate_slower() -> None:
    link = SyntheticLink(0.05, 3e6, 0.02, 1)
    estimate = LinkEstimate()
    for _ in range(8):
        estimate.add(link.call(12_000))
    before = expected(estimate, 12_000)
    for _ in range(4):
        link.now += 1
        estimate.late(link.now, 12_000, 0.5, INITIAL_WINDOW, 0.0)
    assert expected(estimate, 12_000) > 3 * before


def test_large_answers_tell_the_downlink() -> None:
    estimate = LinkEstimate()
    for step in range(10):
        size = 100_000 * (step % 4 + 1)
        seconds = transfer_s(size, INITIAL_WINDOW, 0.05, 5e6)
        estimate.add(Exchange(step, 900, size, 0.05, seconds))
    assert estimate.down_rate == pytest.approx(5e6, rel=0.25)
