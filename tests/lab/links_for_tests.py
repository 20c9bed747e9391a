"""Links and traffic for the tests of the emulator."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airserve.lab.link import Direction, Opportunities, Segment, Timeline
from airserve.lab.pipeline import Pipeline


def steady(rate_bps: float, delay_s: float = 0.0, **options: Any) -> Direction:
    """A direction whose rate and delay do not change."""
    return Direction(Timeline((Segment(0.0, rate_bps, delay_s),), 1.0), **options)


def timelines(rates: tuple[float, ...] = (0.0, 1e5, 1e6, 2e7)) -> st.SearchStrategy[Timeline]:
    """Rates that change every 50 ms, 0 among them, and carry something in each period."""
    return (
        st.lists(st.sampled_from(rates), min_size=2, max_size=8)
        .filter(any)
        .map(
            lambda rates: Timeline(
                tuple(Segment(0.05 * number, rate, 0.01) for number, rate in enumerate(rates)), 0.05 * len(rates)
            )
        )
    )


def opportunities() -> st.SearchStrategy[Opportunities]:
    """mahimahi traces of up to a second."""
    return (
        st.lists(st.integers(0, 1000), min_size=1, max_size=60)
        .map(sorted)
        .filter(lambda times: times[-1] > 0)
        .map(lambda times: Opportunities(tuple(times), 0.01))
    )


# Seconds after the packet before it, and bytes.
packets = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.0004, 0.01, 0.3]), st.integers(20, 1400)), max_size=60)


def sent(pipeline: Pipeline, traffic: list[tuple[float, int]]) -> tuple[list[float], list[tuple[float, bytes]]]:
    """When each packet arrived, and when those that came out did. The first four bytes of a packet are its number."""
    now, arrivals, out = 0.0, [], []
    for number, (gap, size) in enumerate(traffic):
        now += gap
        while pipeline.next_at() <= now:
            out += pipeline.take(pipeline.next_at())
        pipeline.arrive(number.to_bytes(4, "big") + bytes(size - 4), now)
        arrivals.append(now)
    return arrivals, out + drained(pipeline)


def drained(pipeline: Pipeline) -> list[tuple[float, bytes]]:
    """All that still comes out."""
    out: list[tuple[float, bytes]] = []
    while (at := pipeline.next_at()) < float("inf"):
        out += pipeline.take(at)
    return out


def numbers(out: list[tuple[float, bytes]]) -> list[int]:
    """The packets' numbers in the order in which they came out."""
    return [int.from_bytes(packet[:4], "big") for _, packet in out]
