"""What a measured trace tells about a link, and the link that plays it again."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from airserve.core.errors import BadTraceError
from airserve.lab.link import Direction, Link, Opportunities, Segment, Timeline

Way = Literal["up", "down", "both"]
LEAST_QUEUE_BYTES = 64_000
_MAX_BPS = 1e12
_MAX_SAMPLES = 2_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at `time_s`; None where the trace does not tell. Rates are bit/s, delays one-way seconds."""

    time_s: float
    up_bps: float | None = None
    down_bps: float | None = None
    up_delay_s: float | None = None
    down_delay_s: float | None = None
    up_loss: float | None = None
    down_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Samples in the order of their time, or delivery opportunities in milliseconds a way (mahimahi)."""

    samples: tuple[Sample, ...] = ()
    up_ms: tuple[int, ...] = ()
    down_ms: tuple[int, ...] = ()

    @property
    def end_s(self) -> float:
        """Where it begins again: after the last sample has lasted as long as the samples do in the middle."""
        if not self.samples:
            return max((*self.up_ms, *self.down_ms), default=0) / 1e3
        times = [sample.time_s for sample in self.samples]
        steps = sorted(after - before for before, after in pairwise(times))
        return times[-1] + (steps[len(steps) // 2] if steps else 1.0)


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a link gets where no trace tells: a rate for both ways, a round trip, and the depth of its queues."""

    rate_bps: float = 100e6
    rtt_s: float = 0.05
    queue_s: float = 0.5


@dataclass(frozen=True, slots=True)
class _Columns:
    """The series of one way: (time, value) pairs."""

    rate: list[tuple[float, float]] = field(default_factory=list)
    delay: list[tuple[float, float]] = field(default_factory=list)
    loss: list[tuple[float, float]] = field(default_factory=list)


def checked(samples: Sequence[tuple[int, Sample]]) -> tuple[Sample, ...]:
    """Take (line number, sample) pairs and return the samples with the first at 0 s.

    Raises BadTraceError, with the line, for times that do not increase and for values that no link has.
    """
    if not samples:
        raise BadTraceError("The trace holds no samples.")
    if len(samples) > _MAX_SAMPLES:
        raise BadTraceError(f"The trace holds more than {_MAX_SAMPLES:,} samples; cut it into parts.")
    first = samples[0][1].time_s
    before = -math.inf
    out = []
    for line, sample in samples:
        if not math.isfinite(sample.time_s) or sample.time_s <= before:
            raise BadTraceError(f"Line {line}: times must increase, and {sample.time_s} comes after {before}.")
        before = sample.time_s
        _check_values(line, sample)
        out.append(replace(sample, time_s=sample.time_s - first))
    return tuple(out)


def _check_values(line: int, sample: Sample) -> None:
    limits = (
        ("a rate", (sample.up_bps, sample.down_bps), _MAX_BPS),
        ("a delay", (sample.up_delay_s, sample.down_delay_s), 3600.0),
        ("a loss", (sample.up_loss, sample.down_loss), 1.0),
    )
    for what, values, most in limits:
        for value in values:
            if value is not None and not 0 <= value <= most:
                raise BadTraceError(f"Line {line}: {what} must lie between 0 and {most:g}, and {value:g} does not.")


def to_link(traces: Sequence[Trace], name: str, source: str, assumed: Assumed | None = None) -> Link:
    """Make the link that plays the traces, each giving what it tells; it begins again where the shortest ends.

    A way that no trace gives a rate for gets the other's. Raises BadTraceError if the traces tell nothing.
    """
    assumed = assumed or Assumed()
    opportunities = {
        "up": next((trace.up_ms for trace in traces if trace.up_ms), ()),
        "down": next((trace.down_ms for trace in traces if trace.down_ms), ()),
    }
    columns = {"up": _columns(traces, "up"), "down": _columns(traces, "down")}
    if not any(opportunities.values()) and not any(c.rate or c.delay or c.loss for c in columns.values()):
        raise BadTraceError("The trace tells neither a rate nor a delay nor a loss.")
    period_s = min((trace.end_s for trace in traces if trace.samples), default=1.0)
    ways = {}
    for way, other in (("up", "down"), ("down", "up")):
        if not columns[way].rate and not opportunities[way]:
            if opportunities[other]:
                opportunities[way] = opportunities[other]
            else:
                columns[way].rate.extend(columns[other].rate)
        ways[way] = _direction(columns[way], opportunities[way], period_s, assumed)
    return Link(name=name, up=ways["up"], down=ways["down"], source=source, tags=("trace",))


def _columns(traces: Sequence[Trace], way: str) -> _Columns:
    found = _Columns()
    for column, attribute in ((found.rate, "bps"), (found.delay, "delay_s"), (found.loss, "loss")):
        for trace in traces:
            told = [(sample.time_s, getattr(sample, f"{way}_{attribute}")) for sample in trace.samples]
            if not column:
                column.extend((time_s, value) for time_s, value in told if value is not None)
    return found


def _direction(columns: _Columns, times_ms: tuple[int, ...], period_s: float, assumed: Assumed) -> Direction:
    if times_ms:
        median_bps = len(times_ms) * 1504 * 8 / (times_ms[-1] / 1e3)
        delay_s = columns.delay[0][1] if columns.delay else assumed.rtt_s / 2
        return Direction(Opportunities(times_ms, delay_s), queue_bytes=queue_bytes(median_bps, assumed.queue_s))
    edges = sorted(
        {0.0}
        | {time_s for part in (columns.rate, columns.delay, columns.loss) for time_s, _ in part if time_s < period_s}
    )
    segments = tuple(
        Segment(
            edge,
            _at(columns.rate, edge, assumed.rate_bps),
            _at(columns.delay, edge, assumed.rtt_s / 2),
            _at(columns.loss, edge, 0.0),
        )
        for edge in edges
    )
    rates = sorted(segment.rate_bps for segment in segments)
    return Direction(Timeline(segments, period_s), queue_bytes=queue_bytes(rates[len(rates) // 2], assumed.queue_s))


def queue_bytes(rate_bps: float, queue_s: float) -> int:
    """Bytes of a queue that `rate_bps` empties in `queue_s`, and never less than a few packets."""
    return max(int(rate_bps / 8 * queue_s), LEAST_QUEUE_BYTES)


def _at(column: list[tuple[float, float]], time_s: float, otherwise: float) -> float:
    """The value that holds at that time; before the first, the first."""
    if not column:
        return otherwise
    place = bisect_right(column, time_s, key=lambda pair: pair[0]) - 1
    return column[max(place, 0)][1]
