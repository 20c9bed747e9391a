"""Links as text: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.errors import BadTraceError, InvalidInputError
from airserve.lab.link import Direction, GilbertElliott, Link, Opportunities, Radio, Segment, Timeline
from airserve.lab.link_files import load_link, save_link
from airserve.lab.profiles import profile

SHARE = st.floats(0, 1)
SECONDS = st.floats(0, 100)
SEGMENTS = st.lists(st.tuples(st.floats(0, 1e10), SECONDS, SHARE), min_size=1, max_size=5)
TIMELINES = SEGMENTS.map(
    lambda rows: Timeline(tuple(Segment(float(start), *row) for start, row in enumerate(rows)), float(len(rows)))
)
TIMES = st.lists(st.integers(0, 10_000), max_size=20).map(lambda times: (*sorted(times), 10_001))
DIRECTIONS = st.builds(
    Direction,
    capacity=st.one_of(TIMELINES, st.builds(Opportunities, times_ms=TIMES, delay_s=SECONDS)),
    queue_bytes=st.integers(1, 10**9),
    codel=st.booleans(),
    jitter_s=SECONDS,
    reorders=st.booleans(),
    loss=st.one_of(SHARE, st.builds(GilbertElliott, SHARE, SHARE, SHARE, SHARE)),
    grant_s=SECONDS,
)
LINKS = st.builds(
    Link,
    name=st.text(max_size=20),
    up=DIRECTIONS,
    down=DIRECTIONS,
    radio=st.none() | st.builds(Radio, SECONDS, SECONDS),
    radio_link_failure_s=SECONDS,
    mtu=st.integers(576, 9000),
    source=st.text(max_size=20),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)


@given(link=LINKS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_link_file_holds_the_whole_link(link: Link, tmp_path: Path) -> None:
    save_link(link, tmp_path / "link.json")
    assert load_link(tmp_path / "link.json") == link


def test_a_link_is_found_by_the_name_of_a_profile() -> None:
    assert load_link("lte", seed=4) == profile("lte", 4)


def test_a_link_in_one_line_has_the_units_of_the_field() -> None:
    link = load_link("up=10,down=0.05gbit,rtt=60,loss=1,wake=0.5s,idle=9s,grant=5")
    assert link.up.capacity == Timeline((Segment(0.0, 10e6, 0.03),), 1.0)
    assert link.down.capacity == Timeline((Segment(0.0, 50e6, 0.03),), 1.0)
    assert (link.up.loss, link.down.loss) == (0.01, 0.01)
    assert (link.up.grant_s, link.down.grant_s) == (0.005, 0.0)
    assert link.radio == Radio(9.0, 0.5)


@pytest.mark.parametrize("text", ["up=fast", "up=10ms", "speed=3", "up=-1", "loss=101", "nothing", "up=10,", "rtt=1e9"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        load_link(text)


def test_a_link_can_be_written_by_hand_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "tunnel.toml"
    file.write_text("""
airserve_link = 1
name = "tunnel"
up.capacity = { period_s = 60.0, start_s = [0.0, 50.0], rate_bps = [2e7, 0.0], delay_s = [0.02, 0.02] }
down.capacity = { times_ms = [1, 2, 2], delay_s = 0.02 }
""")
    link = load_link(file)
    assert link.up.capacity == Timeline((Segment(0.0, 2e7, 0.02), Segment(50.0, 0.0, 0.02)), 60.0)
    assert link.down.capacity == Opportunities((1, 2, 2), 0.02)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"airserve_link": 2}, "version 1"),
        ({"up": {}}, "capacity"),
        ({"mtu": 20}, "mtu"),
        ({"colour": "red"}, "colour"),
        ({"up": {"capacity": {"period_s": 1.0, "start_s": [0.0, 0.5], "rate_bps": [1.0], "delay_s": [0.0]}}}, "long"),
        ({"up": {"capacity": {"period_s": 1.0, "start_s": [0.5], "rate_bps": [1.0], "delay_s": [0.0]}}}, "begin at 0"),
        ({"up": {"capacity": {"period_s": 1.0, "start_s": [0.0], "rate_bps": [-1.0], "delay_s": [0.0]}}}, "negative"),
        ({"up": {"capacity": {"period_s": 1.0, "start_s": [0.0], "rate_bps": ["x"], "delay_s": [0.0]}}}, "float"),
        ({"up": {"capacity": {"times_ms": [5, 3]}}}, "not decrease"),
        ({"up": {"capacity": {"times_ms": [3]}, "loss": 1.5}}, "loss"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_link(load_link("rate=10"), tmp_path / "good.json")
    document = json.loads((tmp_path / "good.json").read_text()) | change
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(BadTraceError, match=said):
        load_link(tmp_path / "bad.json")


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_as_an_error_of_ours(data: bytes, tmp_path: Path) -> None:
    for name in ("any.json", "any.toml"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadTraceError):
            load_link(tmp_path / name)
