"""Each public format is recognised and read, and a bad line is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.errors import BadTraceError, InvalidInputError, NotFoundError
from airserve.lab.formats import FORMATS, mahimahi, read_trace
from airserve.lab.trace import Sample, Trace, to_link

UCC = """Timestamp,Speed,Operatorname,CellID,NetworkMode,RSRP,SNR,CQI,DL_bitrate,UL_bitrate,State,PINGAVG,PINGMIN,LOSS
2019.12.16_13.40.04,0,A,2,5G,-95,10,12,46000,1200,D,42,40,0
2019.12.16_13.40.04,0,A,2,5G,-95,10,12,99000,1300,D,42,40,0
2019.12.16_13.40.05,0,A,2,LTE,-95,-,-,800,0,D,-,-,-
"""
NUTTCP = """nuttcp -i0.5 -T120 10.0.0.1
[2024-05-27 10:57:21.047467]     1.6875 MB /   0.50 sec =   28.3104 Mbps     1 retrans   1375 KB-cwnd
[2024-05-27 10:57:21.547467]     0.0000 MB /   0.50 sec =    0.0000 Mbps     0 retrans   1375 KB-cwnd

    1.6875 MB /   120.04 sec =   14.1 Mbps 5 %TX 9 %RX 1 retrans 42.10 msRTT
"""
CICV5G = """pub_time(ms) sub_time(ms) delay(ms) utmX(m) utmY(m) heading(rad) velocity(m/s) cellid(db) sinr(db) rsrp(db)
1721032002250 1721032002267 17 328988.99 3463452.79 2.43 0.0 5C422503D 18 -94
1721032002304 1721032002327 23 328988.99 3463452.79 2.43 0.0 5C422503D 18 -94
"""


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("trip.up", "1\n1\n5\n", Trace(up_ms=(1, 1, 5))),
        ("trip.down", "0\n3\n", Trace(down_ms=(0, 3))),
        ("5g_trace_1", "1.0\t91.0\n2.0\t0.0\n", Trace((Sample(0, None, 91e6), Sample(1, None, 0.0)))),
        ("tcp_uplink_0.out", NUTTCP, Trace((Sample(0, up_bps=28.3104e6), Sample(0.5, up_bps=0.0)))),
        (
            "B_2019.csv",
            UCC,
            Trace((Sample(0, 1.2e6, 46e6, 0.021, 0.021, 0.0, 0.0), Sample(1, 0.0, 0.8e6))),
        ),
    ],
)
def test_a_format_is_recognised_and_read(name: str, text: str, expected: Trace, tmp_path: Path) -> None:
    assert read_trace(_file(tmp_path, name, text)) == expected


def test_round_trips_are_read_from_cicv5g(tmp_path: Path) -> None:
    trace = read_trace(_file(tmp_path, "urban.txt", CICV5G))
    assert [sample.up_delay_s for sample in trace.samples] == pytest.approx([0.0085, 0.0115])
    assert [sample.time_s for sample in trace.samples] == pytest.approx([0.0, 0.054], abs=1e-6)
    assert trace.samples[0].up_bps is None


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 1000)), min_size=1, max_size=20
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_gives_what_was_written(rows: list[tuple[int, int, int]], tmp_path: Path) -> None:
    lines = ["time_s,up_rate_mbps,down_rate_mbps,rtt_ms,loss"]
    lines += [f"{place / 4},{up},{down},{rtt},0.5" for place, (up, down, rtt) in enumerate(rows)]
    trace = read_trace(_file(tmp_path, "own.csv", "\n".join(lines)))
    assert [sample.time_s for sample in trace.samples] == [place / 4 for place in range(len(rows))]
    assert [sample.up_bps for sample in trace.samples] == pytest.approx([up * 1e6 for up, _, _ in rows])
    assert [sample.down_bps for sample in trace.samples] == pytest.approx([down * 1e6 for _, down, _ in rows])
    assert [sample.down_delay_s for sample in trace.samples] == pytest.approx([rtt / 2e3 for _, _, rtt in rows])
    assert all(sample.up_loss == 0.5 for sample in trace.samples)


@given(times=st.lists(st.integers(0, 10**6), min_size=1, max_size=50).map(sorted))
def test_mahimahi_gives_what_was_written(times: list[int]) -> None:
    times.append(times[-1] + 1)
    assert mahimahi.read(mahimahi.write(tuple(times)), "up").up_ms == tuple(times)


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("mahimahi", "1\n\n3\n", 2),
        ("mahimahi", "5\n4\n", 2),
        ("mahimahi", "1\nx\n", 2),
        ("csv", "time_s,rate_mbps\n0,1\n1,fast\n", 3),
        ("csv", "time_s,rate_mbps\n0,1\n0,1\n", 3),
        ("csv", "time_s,rate_mbps\n0,-1\n", 2),
        ("csv", "time_s,rate_mbps\n0,1,2\n", 2),
        ("csv", "time_s,colour\n0,1\n", 1),
        ("csv", "time_s,loss\n0,nan\n", 2),
        ("csv", "time_s,loss\n0,2\n", 2),
        ("lumos5g", "1 2\n2\n", 2),
        ("lumos5g", "1 2\n1 3\n", 2),
        ("ucc", "Timestamp,DL_bitrate,UL_bitrate\nyesterday,1,2\n", 2),
        ("ucc", "Timestamp\n", 1),
        ("cicv5g", "pub_time sub_time delay\n1 2 x\n", 2),
        ("cicv5g", "pub_time sub_time delay\n1 2\n", 2),
        ("nuttcp", "1 MB / 0.00 sec = 3 Mbps\n", 1),
    ],
)
def test_a_bad_line_is_named(kind: str, text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(BadTraceError, match=rf"Line {line}\b"):
        read_trace(_file(tmp_path, "trace", text), kind, "up")


@given(
    kind=st.sampled_from(sorted(FORMATS)), text=st.text(alphabet="0123456789.,-\n\t /=[]MBpsecTimestamp_", max_size=80)
)
def test_any_text_is_read_or_refused(kind: str, text: str) -> None:
    try:
        trace = FORMATS[kind].read(text, "up")
    except BadTraceError:
        return
    assert trace.samples or trace.up_ms


def test_what_cannot_be_known_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(BadTraceError, match="--way"):
        read_trace(_file(tmp_path, "trace", "1\n2\n"))
    with pytest.raises(BadTraceError, match="--format"):
        read_trace(_file(tmp_path, "novel.txt", "It was a dark night"))
    with pytest.raises(InvalidInputError, match="mahimahi"):
        read_trace(tmp_path / "trace", "pcap")
    with pytest.raises(NotFoundError):
        read_trace(tmp_path / "none")


def test_what_a_trace_does_not_tell_is_taken_from_the_other_way_or_assumed(tmp_path: Path) -> None:
    down_only = read_trace(_file(tmp_path, "5g_trace_1", "1.0\t91.0\n2.0\t0.0\n"))
    delays = read_trace(_file(tmp_path, "urban.txt", CICV5G))
    link = to_link([down_only, delays], "both", "test")
    assert link.up.capacity == link.down.capacity
    segments = link.down.capacity.segments  # type: ignore[union-attr]
    assert (segments[0].rate_bps, segments[0].delay_s) == (91e6, 0.0085)
