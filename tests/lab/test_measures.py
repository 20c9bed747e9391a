"""The figures of a table, from calls that were made up so that the figures are known."""

from __future__ import annotations

import pytest

from airserve.lab.experiment import Cut
from airserve.lab.link import Direction, Link, Opportunities, Segment, Timeline
from airserve.lab.measures import Call, Run, after_outages, figures, outages, rates_bps


def _run(*calls: Call, **more: object) -> Run:
    return Run("lte", "binary", 0, 0, 10.0, calls, 0.5, 9000, 3000, **more)  # type: ignore[arg-type]


def test_percentiles_are_of_answers_and_deadlines_of_all_calls() -> None:
    calls = [Call(float(t), 10.0 * (t + 1), ok=t != 9) for t in range(10)]
    row = figures([_run(*calls)])
    assert (row.calls, row.answered) == (10, 0.9)
    assert row.p50_ms == 50.0
    assert row.hits == (0.5, 0.9, 0.9)
    assert row.cpu_ms == 50.0


def test_bytes_are_the_clients_where_it_counts_and_else_the_links() -> None:
    told = figures([_run(Call(0.0, 1.0, True, 100, 10), Call(1.0, 1.0, True, 200, 20))])
    assert (told.bytes_up, told.bytes_down, told.bytes_from) == (150.0, 15.0, "client")
    untold = figures([_run(Call(0.0, 1.0, True, 100, 10), Call(1.0, 1.0, True))])
    assert (untold.bytes_up, untold.bytes_down, untold.bytes_from) == (4500.0, 1500.0, "link")


def test_accuracy_is_over_what_could_be_judged() -> None:
    calls = [Call(0.0, 1.0, True, correct=correct) for correct in (True, False, None)]
    assert figures([_run(*calls)]).accuracy == 0.5


def test_runs_without_calls_have_no_figures() -> None:
    row = figures([_run()])
    assert (row.calls, row.answered, row.p50_ms, row.hits, row.bytes_up) == (0, None, None, (None,) * 3, None)


def test_the_first_answer_after_an_outage_came_over_the_link() -> None:
    calls = [
        Call(0.9, 100.0, True),
        Call(2.0, 5.0, True, place="device"),  # the outage is over, but this answer did not need the link
        Call(2.0, 300.0, False),
        Call(2.4, 100.0, True, place="cloud"),
    ]
    assert after_outages(_run(*calls, outages=((1.0, 1.9),))) == pytest.approx([0.6])
    assert after_outages(_run(*calls, outages=((3.0, 4.0),))) == []


def test_outages_are_found_on_both_kinds_of_links() -> None:
    def link(capacity: Timeline | Opportunities) -> Link:
        return Link("l", Direction(capacity), Direction(capacity))

    timeline = Timeline(
        (
            Segment(0, 1e6, 0),
            Segment(1, 0, 0),
            Segment(1.5, 0, 0),
            Segment(2, 1e6, 0),
            Segment(3, 0, 0),
            Segment(3.1, 1e6, 0),
        ),
        5.0,
    )
    assert outages(link(timeline), 10.0) == ((1, 2),)
    assert outages(link(timeline), 1.5) == ()
    assert outages(link(Opportunities((10, 20, 900, 910))), 10.0) == ((0.02, 0.9),)


def test_the_rate_under_the_calls_is_the_links_less_the_cuts() -> None:
    capacity = Timeline((Segment(0.0, 1e6, 0.0), Segment(0.15, 0.0, 0.0), Segment(0.2, 4e6, 0.0)), 0.3)
    link = Link("l", Direction(capacity), Direction(capacity))
    assert rates_bps(link, 0.55) == pytest.approx((1e6, 0.5e6, 4e6, 1e6, 0.5e6, 4e6))
    assert rates_bps(link, 0.25, [Cut(0.1, 0.1)]) == pytest.approx((1e6, 0.0, 4e6))
    paced = Link("l", Direction(Opportunities((50, 150))), Direction(capacity))
    assert rates_bps(paced, 0.15) == pytest.approx((120320.0, 240640.0), rel=0.01)
