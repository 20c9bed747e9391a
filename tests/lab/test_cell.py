from __future__ import annotations

import pytest

from airserve.lab.capacity import capacity
from airserve.lab.cell import Cell
from airserve.lab.link import Direction, Opportunities
from airserve.lab.pipeline import Pipeline
from tests.lab.links_for_tests import steady


def shares(direction: Direction, packets: list[int], until_s: float) -> list[int]:
    """Bytes that each device got by then, where each of them had so many packets waiting at 0."""
    cell = Cell(capacity(direction.capacity, start_s=0.0, failure_s=2.0))
    devices = [Pipeline(direction, seed=number, cell=cell) for number in range(len(packets))]
    for device, count in zip(devices, packets, strict=True):
        for _ in range(count):
            device.arrive(bytes(1000), 0.0)
    for device in devices:
        device.take(until_s)
    return [device.counters.delivered_bytes for device in devices]


def test_devices_that_always_have_something_to_send_get_equal_shares() -> None:
    got = shares(steady(8e6), [900, 900, 900, 900], 1.0)
    assert sum(got) == pytest.approx(1_000_000, abs=2000)
    assert max(got) - min(got) <= 2000


def test_what_one_does_not_need_the_others_get() -> None:
    assert shares(steady(8e6), [100, 900, 900], 1.0) == pytest.approx([100_000, 450_000, 450_000], abs=2000)


def test_a_newcomer_is_served_at_once_and_only_then_shares() -> None:
    link = steady(8e6)
    cell = Cell(capacity(link.capacity, start_s=0.0, failure_s=2.0))
    old, new = (Pipeline(link, seed=number, cell=cell) for number in range(2))
    for _ in range(1400):
        old.arrive(bytes(1000), 0.0)
    old.take(0.5)
    for _ in range(10):
        new.arrive(bytes(1000), 0.5)
    assert len(new.take(0.5115)) == 10


def test_opportunities_are_shared_too() -> None:
    got = shares(Direction(Opportunities((1,))), [900, 900], 0.5)
    assert sum(got) == pytest.approx(500 * 1504, abs=3000)
    assert abs(got[0] - got[1]) <= 2000
