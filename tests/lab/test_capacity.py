from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.lab.capacity import OpportunityCapacity, TimelineCapacity, bits_between, capacity, outages
from airserve.lab.link import Opportunities, Segment, Timeline
from tests.lab.links_for_tests import timelines


def served(link: OpportunityCapacity, ready: float, size: int, free: float = 0.0) -> float:
    return link.finish(link.begin(ready, free), size)


def test_a_constant_rate_serialises() -> None:
    link = capacity(Timeline((Segment(0, 8e6, 0.01),), 1.0), start_s=5.0, failure_s=2.0)
    assert link.finish(link.begin(7.0, 6.0), 1000) == pytest.approx(7.001)
    assert link.finish(link.begin(7.0, 7.5), 1000) == pytest.approx(7.501)


def test_a_packet_is_served_around_an_outage() -> None:
    link = TimelineCapacity(
        Timeline((Segment(0, 8e6, 0.01), Segment(1, 0, 0.02), Segment(3, 4e6, 0.03)), 4.0), 0.0, 9.0
    )
    # 500 bytes before the outage, the other 500 after it at half the rate.
    assert link.finish(0.9995, 1000) == pytest.approx(3.001)
    assert link.delay_s == 0.03
    assert link.begin(1.5, 0.0) == pytest.approx(3.0)
    # The timeline begins again.
    assert link.begin(5.5, 0.0) == pytest.approx(7.0)


def test_a_direction_that_never_carries_never_finishes() -> None:
    assert capacity(Timeline((Segment(0, 0, 0.01),), 1.0), start_s=0, failure_s=2).begin(1.0, 0.0) == math.inf


@settings(max_examples=40)
@given(timelines(), st.floats(0, 3), st.integers(1, 5000))
def test_what_is_finished_is_what_the_rate_integrates_to(timeline: Timeline, begin: float, size: int) -> None:
    finish = TimelineCapacity(timeline, 0.0, 9.0).finish(begin, size)
    assert bits_between(timeline, begin, finish) == pytest.approx(size * 8, rel=1e-6, abs=1e-3)


def test_several_small_packets_share_an_opportunity_and_unused_bytes_are_lost() -> None:
    link = OpportunityCapacity(Opportunities((10, 20, 30)), 0.0)
    assert [served(link, 0.0, 700), served(link, 0.0, 700)] == [0.01, 0.01]
    # 104 bytes are left of the first opportunity, and the third packet goes on in the second.
    assert served(link, 0.0, 700) == 0.02
    # A packet that came after the second does not find what is left of it.
    assert served(link, 0.021, 100) == 0.03


def test_a_packet_that_comes_at_the_moment_of_an_opportunity_has_missed_it() -> None:
    link = OpportunityCapacity(Opportunities((10, 20)), 0.0)
    assert served(link, 0.01, 100) == 0.02
    # After the last the trace begins again, at the last one's time.
    assert served(link, 0.02, 100) == 0.03


def test_a_big_packet_spans_opportunities_and_one_a_millisecond_is_12_mbps() -> None:
    link = OpportunityCapacity(Opportunities((1,)), 0.0)
    assert served(link, 0.0, 3 * 1504) == pytest.approx(0.003)
    free = 0.0
    for _ in range(1000):
        free = served(link, 0.0, 1504, free)
    assert free == pytest.approx(1.003)
    assert bits_between(Opportunities((1,)), 0, 1.0005) == 1504 * 8 * 1000


def test_lines_of_one_millisecond_are_several_opportunities() -> None:
    link = OpportunityCapacity(Opportunities((5, 5, 9)), 0.0)
    assert [served(link, 0.0, 1504) for _ in range(3)] == [0.005, 0.005, 0.009]


def test_a_long_silence_is_skipped() -> None:
    link = OpportunityCapacity(Opportunities((0, 7, 10)), 0.0)
    # Periods of 10 ms: opportunities at …, 1000000, 1000007.
    assert served(link, 1000.0001, 100) == pytest.approx(1000.007)
    assert served(link, 1000.0075, 100) == pytest.approx(1000.01)


def test_outages_are_joined_across_the_end_of_the_period() -> None:
    timeline = Timeline((Segment(0, 0, 0), Segment(1, 5, 0), Segment(2, 0, 0), Segment(3, 0, 0)), 4.0)
    assert outages(timeline) == [(2.0, 5.0)]
    failing = TimelineCapacity(timeline, 100.0, 2.0)
    assert failing.failure_end(101.5, 105.1) == 105.0
    assert failing.failure_end(105.0, 105.1) == 0.0
    assert failing.failure_end(100.5, 101.2) == 101.0
    assert TimelineCapacity(timeline, 100.0, 3.5).failure_end(101.5, 105.1) == 0.0
