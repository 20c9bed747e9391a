"""From traces to a link that plays them."""

from __future__ import annotations

import pytest

from airserve.core.errors import BadTraceError
from airserve.lab.link import Opportunities, Segment, Timeline
from airserve.lab.trace import Assumed, Sample, Trace, checked, to_link


def test_a_trace_lasts_until_its_last_sample_has_lasted_as_long_as_the_others() -> None:
    trace = Trace(tuple(Sample(float(second), up_bps=1e6) for second in range(5)))
    assert trace.end_s == 5.0
    assert to_link([trace], "t", "").up.capacity.period_s == 5.0  # type: ignore[union-attr]


def test_series_of_different_pace_are_laid_over_each_other() -> None:
    rates = Trace((Sample(0.0, up_bps=1e6), Sample(1.0, up_bps=2e6)))
    delays = Trace((Sample(0.0, up_delay_s=0.01), Sample(0.5, up_delay_s=0.02), Sample(1.0), Sample(1.5)))
    link = to_link([rates, delays], "t", "", Assumed(rtt_s=0.08))
    assert link.up.capacity == Timeline(
        (Segment(0.0, 1e6, 0.01), Segment(0.5, 1e6, 0.02), Segment(1.0, 2e6, 0.02)), 2.0
    )
    assert link.down.capacity == Timeline((Segment(0.0, 1e6, 0.04), Segment(1.0, 2e6, 0.04)), 2.0)


def test_opportunities_are_played_as_they_are() -> None:
    link = to_link([Trace(up_ms=(1, 2, 3))], "t", "", Assumed(rtt_s=0.1))
    assert link.up.capacity == link.down.capacity == Opportunities((1, 2, 3), 0.05)


def test_a_trace_that_tells_nothing_is_refused() -> None:
    with pytest.raises(BadTraceError, match="neither"):
        to_link([Trace((Sample(0.0), Sample(1.0)))], "t", "")


def test_times_begin_at_zero_and_must_increase() -> None:
    assert [sample.time_s for sample in checked([(1, Sample(5.0)), (2, Sample(7.0))])] == [0.0, 2.0]
    with pytest.raises(BadTraceError, match="Line 9"):
        checked([(1, Sample(5.0)), (9, Sample(5.0))])
    with pytest.raises(BadTraceError, match="Line 1: a loss"):
        checked([(1, Sample(5.0, up_loss=1.5))])
