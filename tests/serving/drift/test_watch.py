"""The watch over one version: what it logs and when, how long it rests, what it cannot be disturbed by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from structlog.testing import capture_logs

from airserve.core.call import Array, Call, Reply
from airserve.models.baseline import baseline_of, split_rows
from airserve.models.observed import Observer
from airserve.serving.drift.watch import DriftWatch
from airserve.serving.drift.window import SLICE_NS, SLICES
from tests.models.baselines import manifest_of_columns

MANIFEST = manifest_of_columns(3)
SECOND = 10**9


class Clock:
    """Time goes on by a millisecond with each look at it."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 10**6
        return self.now_ns


def rows(random: np.random.Generator, count: int) -> Array:
    return random.normal(size=(count, 3)).astype(np.float32)


def watch(clock: Clock) -> DriftWatch:
    x = rows(np.random.default_rng(0), 1000)
    baseline = baseline_of(MANIFEST, split_rows({"x": x}, {"y": x[:, :1]}))
    return DriftWatch("columns", 3, baseline, Observer(MANIFEST, None), clock)


def answered(x: Array) -> tuple[Call, Reply]:
    return Call("c", "columns", {"x": x}, len(x), 0), Reply("columns", "3", {"y": x[:, :1]})


def see(watched: DriftWatch, clock: Clock, values: Array) -> list[Any]:
    """Forty calls, and what was logged of them."""
    with capture_logs() as logged:
        for part in np.array_split(values, 40):
            watched.see(*answered(part))
            clock.now_ns += SECOND // 20
        watched.report()
    return logged


def test_a_rise_is_logged_once_and_again_after_it_was_over() -> None:
    clock, random = Clock(), np.random.default_rng(1)
    watched = watch(clock)
    assert see(watched, clock, rows(random, 800)) == [] and watched.alerts == {}
    shifted = rows(random, 800)
    shifted[:, 1] += 3
    (line,) = see(watched, clock, shifted)
    assert (line["log_level"], line["model"], line["version"], list(line["worst"])) == ("warning", "columns", 3, ["c1"])
    assert see(watched, clock, shifted) == [] and list(watched.alerts) == ["c1"]
    clock.now_ns += SLICES * SLICE_NS
    assert see(watched, clock, rows(random, 800)) == [] and watched.alerts == {}
    assert len(see(watched, clock, np.concatenate([shifted, shifted]))) == 1


def test_it_rests_for_ninety_nine_times_as_long_as_it_looked() -> None:
    clock = Clock()
    watched = watch(clock)
    assert not watched.rests
    began_ns = clock.now_ns
    watched.see(*answered(rows(np.random.default_rng(2), 4)))
    ended_ns = clock.now_ns
    assert watched.rests
    while watched.rests:
        pass
    assert clock.now_ns - ended_ns >= 90 * (ended_ns - began_ns - 10**6)


def test_a_call_that_cannot_be_looked_at_disturbs_nobody_and_is_told_of_once() -> None:
    clock = Clock()
    watched = watch(clock)
    call, reply = answered(rows(np.random.default_rng(3), 4))
    with capture_logs() as logged:
        for _ in range(3):
            watched.see(replace(call, inputs={"other": call.inputs["x"]}), reply)
    assert len(logged) == 1 and logged[0]["log_level"] == "error"
    assert watched.report().rows == 0
    watched.see(call, reply)
    assert watched.report().rows == 4
