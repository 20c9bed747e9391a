"""From runs to the figures of the pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.link.clients.pace import DROPPED

from airserve.lab.measures import Call, Run
from benchmarks.link import figures


def _run(client: str, link: str, times_ms: list[float], *, up: int = 1000, place: str = "cloud") -> Run:
    calls = tuple(Call(0.2 * at, ms, ok=True, place=place, correct=True, cpu_ms=2.0) for at, ms in enumerate(times_ms))
    return Run(link, client, 0, 0, 10.0, calls, 1.0, up, 10 * len(calls))


def test_a_frame_that_was_dropped_is_not_answered_and_sends_nothing() -> None:
    run = _run("ours", "lte", [40.0, 90.0, 150.0])
    dropped = Call(0.7, 0.0, ok=False, place=DROPPED)
    row = figures.row([replace(run, calls=(*run.calls, dropped))])
    assert (row.frames, row.asked) == (4, 3)
    assert row.answered == 0.75
    assert row.hits == (0.25, 0.5, 0.75)
    assert row.bytes_up == pytest.approx(1000 / 3)
    assert row.p50_ms == 90.0
    assert row.cpu_ms == 2.0


def test_a_call_without_an_answer_counts_as_late_and_its_time_is_no_latency() -> None:
    run = _run("ours", "lte", [40.0])
    row = figures.row([replace(run, calls=(*run.calls, Call(0.2, 10_000.0, ok=False)))])
    assert (row.frames, row.asked) == (2, 2)
    assert row.mean_ms == 40.0
    assert row.hits == (0.5, 0.5, 0.5)
    assert row.bytes_up == 500


def test_shares_of_the_device_and_of_right_answers_are_of_the_answers() -> None:
    run = _run("ours", "lte", [40.0, 50.0], place="device")
    wrong = replace(run.calls[0], correct=False, place="cloud")
    row = figures.row([replace(run, calls=(wrong, *run.calls[1:], Call(0.4, 1.0, ok=False)))])
    assert row.on_device == 0.5
    assert row.correct == 0.5


def test_only_answers_over_the_link_end_an_outage() -> None:
    run = replace(_run("ours", "lte", []), outages=((1.0, 4.0),))
    here, there = Call(4.0, 50.0, ok=True, place="device"), Call(4.0, 300.0, ok=True, place="cloud")
    assert figures.row([replace(run, calls=(here, there))]).after_outage_max_s == pytest.approx(0.3)


def test_no_answers_give_no_figures() -> None:
    row = figures.row([_run("ours", "lte", [])])
    assert (row.mean_ms, row.p95_ms, row.bytes_up, row.correct, row.cpu_ms) == (None,) * 5
    assert row.answered == 0.0


def test_rows_are_cells_of_link_and_client_over_their_repeats() -> None:
    runs = [_run("ours", "lte", [10.0]), _run("json", "lte", [99.0]), _run("ours", "lte", [30.0])]
    found = figures.rows(runs)
    assert [(row.link, row.client, row.frames) for row in found] == [("lte", "ours", 2), ("lte", "json", 1)]
    assert found[0].mean_ms == 20.0


def test_links_are_put_together_for_clients_that_were_on_all_of_them() -> None:
    runs = [_run("ours", "lte", [10.0]), _run("ours", "wifi", [30.0, 50.0]), _run("json", "lte", [99.0])]
    (row,) = figures.together(runs)
    assert (row.link, row.client, row.frames, row.mean_ms) == (figures.ALL, "ours", 3, 30.0)


def test_ratios_say_how_many_times_less_one_needs() -> None:
    runs = [
        _run("ours", "lte", [10.0], up=100),
        _run("float", "lte", [40.0], up=2000),
        _run("ours", "wifi", [10.0]),
    ]
    (ratio,) = figures.ratios(figures.rows(runs), "ours", "float")
    assert (ratio.link, ratio.bytes_up, ratio.mean_ms, ratio.p95_ms) == ("lte", 20.0, 4.0, 4.0)


def test_a_ratio_to_nothing_is_no_figure() -> None:
    runs = [_run("ours", "lte", [10.0], up=0), _run("float", "lte", [])]
    (ratio,) = figures.ratios(figures.rows(runs), "ours", "float")
    assert (ratio.bytes_up, ratio.mean_ms) == (None, None)
