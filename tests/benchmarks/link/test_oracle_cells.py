"""What a cell of the oracle says of its calls."""

from __future__ import annotations

import pytest
from benchmarks.link.oracle_cells import cell, measured, warmed
from benchmarks.link.oracle_client import Played, Task


def task(codec: str, place: str = "cloud") -> Task:
    return Task("m", place, codec, "2", 5.0, 0.1)


def calls(*ms: float, codec: str = "raw") -> list[Played]:
    return [Played(float(number), each, "cloud", codec, "2") for number, each in enumerate(ms)]


def test_warming_up_is_left_out_but_for_a_run_that_is_all_of_it() -> None:
    assert [each.ms for each in warmed(calls(900, 10, 20), 1.0)] == [10, 20]
    assert [each.ms for each in warmed(calls(900, 800), 60.0)] == [800]


def test_the_gap_is_to_the_best_mean_of_all_fixed_plans() -> None:
    found = cell("link", "m", [
        measured(task("raw"), calls(100, 200)),
        measured(task("", place=""), calls(60, 60, 51, codec="int8")),
        measured(task("int8"), calls(50, 50)),
    ])  # fmt: skip
    assert [each.task.codec for each in found.fixed] == ["int8", "raw"]
    assert found.gap == pytest.approx(0.14)
    assert not found.is_within
    assert found.adapting.plans == "int8 h2 100%"


def test_a_millisecond_is_no_gap() -> None:
    found = cell("link", "m", [measured(task("", place=""), calls(2.0)), measured(task("raw"), calls(1.2))])
    assert found.gap > 0.5
    assert found.is_within
