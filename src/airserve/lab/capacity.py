"""When a direction has carried a packet: at the rate of a timeline, or by mahimahi's delivery opportunities.

A capacity answers two questions, in the order of the packets: when the next packet's service can begin, and when it is
finished. All times are seconds on one clock; nothing here reads it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Protocol

from airserve.lab.link import Opportunities, Timeline

OPPORTUNITY_BYTES = 1504


class Capacity(Protocol):
    """What a pipeline asks. `delay_s` and `loss` are those of the packet that `finish` was last asked about."""

    delay_s: float
    loss: float

    def begin(self, ready_s: float, free_s: float) -> float:
        """When service of a packet begins that is `ready_s`, where the one before it was finished at `free_s`."""
        ...

    def finish(self, begin_s: float, size: int) -> float:
        """When `size` bytes whose service begins then have left; infinite where the direction never carries again."""
        ...

    def failure_end(self, arrived_s: float, finish_s: float) -> float:
        """The end of a radio-link failure that a packet in the queue between these times met, or 0."""
        ...


def capacity(described: Timeline | Opportunities, *, start_s: float, failure_s: float) -> Capacity:
    """The capacity whose time 0 is `start_s`; outages of a timeline longer than `failure_s` lose what waits."""
    if isinstance(described, Opportunities):
        return OpportunityCapacity(described, start_s)
    segments = described.segments
    if len({(segment.rate_bps, segment.delay_s, segment.loss) for segment in segments}) == 1 and segments[0].rate_bps:
        return ConstantCapacity(segments[0].rate_bps, segments[0].delay_s, segments[0].loss)
    return TimelineCapacity(described, start_s, failure_s)


class ConstantCapacity:
    """The same rate all the time."""

    __slots__ = ("_seconds_a_byte", "delay_s", "loss")

    def __init__(self, rate_bps: float, delay_s: float, loss: float) -> None:
        self._seconds_a_byte = 8 / rate_bps
        self.delay_s = delay_s
        self.loss = loss

    def begin(self, ready_s: float, free_s: float) -> float:
        """At once when the link is free."""
        return ready_s if ready_s > free_s else free_s

    def finish(self, begin_s: float, size: int) -> float:
        """Serialisation at the rate."""
        return begin_s + size * self._seconds_a_byte

    def failure_end(self, arrived_s: float, finish_s: float) -> float:
        """Never."""
        return 0.0


class TimelineCapacity:
    """Piecewise constant rates that repeat. A packet may be served over several segments, or around an outage."""

    def __init__(self, timeline: Timeline, start_s: float, failure_s: float) -> None:
        self._starts = [segment.start_s for segment in timeline.segments]
        self._segments = timeline.segments
        self._period = timeline.period_s
        self._start = start_s
        self._ends = [*self._starts[1:], timeline.period_s]
        if (
            not self._starts
            or self._starts[0] != 0
            or any(a >= b for a, b in zip(self._starts, self._ends, strict=True))
        ):
            raise ValueError("a timeline's segments begin at 0 and each lasts for some time")
        self._total_bits = sum(
            segment.rate_bps * (end - segment.start_s) for segment, end in zip(self._segments, self._ends, strict=True)
        )
        failures = [(a, b) for a, b in outages(timeline) if b - a > failure_s]
        self._failed = [begin + failure_s for begin, _ in failures]
        self._recovered = [end for _, end in failures]
        self.delay_s = self._segments[0].delay_s
        self.loss = self._segments[0].loss

    def begin(self, ready_s: float, free_s: float) -> float:
        """At once when the link is free, or at the end of the outage."""
        begin = ready_s if ready_s > free_s else free_s
        return self.finish(begin, 0)

    def finish(self, begin_s: float, size: int) -> float:
        """Integrate the rate from `begin_s` on until `size` bytes have left."""
        if not self._total_bits or begin_s == math.inf:
            return math.inf
        rounds, time = divmod(begin_s - self._start, self._period)
        base = self._start + rounds * self._period
        index = bisect_right(self._starts, time) - 1
        bits = size * 8.0
        while bits > self._total_bits:
            bits -= self._total_bits
            base += self._period
        while True:
            segment, end = self._segments[index], self._ends[index]
            if segment.rate_bps > 0:
                carried = segment.rate_bps * (end - time)
                if carried >= bits:
                    self.delay_s, self.loss = segment.delay_s, segment.loss
                    return max(begin_s, base + time + bits / segment.rate_bps)
                bits -= carried
            time = end
            index += 1
            if index == len(self._segments):
                index, time = 0, 0.0
                base += self._period

    def failure_end(self, arrived_s: float, finish_s: float) -> float:
        """Whatever was in the queue when an outage had lasted `failure_s`, or came in the rest of it, is lost."""
        if not self._failed:
            return 0.0
        rounds, time = divmod(finish_s - self._start, self._period)
        index = bisect_left(self._failed, time) - 1
        if index < 0:
            rounds -= 1
        end = self._start + rounds * self._period + self._recovered[index]
        return end if arrived_s < end else 0.0


class OpportunityCapacity:
    """mahimahi's link: each opportunity carries up to 1504 bytes of what already waits, and the rest of it is lost.

    Several small packets share an opportunity, and a packet that does not fit goes on in the next. A packet that comes
    at an opportunity's very moment has missed it. Source: mahimahi's `link_queue`, semantics only.
    """

    def __init__(self, opportunities: Opportunities, start_s: float) -> None:
        self._times = [milliseconds / 1000 for milliseconds in opportunities.times_ms]
        if (
            not self._times
            or self._times[-1] <= 0
            or any(b < a for a, b in zip(self._times, self._times[1:], strict=False))
        ):
            raise ValueError("delivery opportunities do not decrease, and the last is later than 0 ms")
        self._base = start_s
        self._index = -1
        self._left = 0
        self._now = -math.inf
        self.delay_s = opportunities.delay_s
        self.loss = 0.0

    def begin(self, ready_s: float, free_s: float) -> float:
        """In what is left of the opportunity that was used last, where the packet waited already; else in the next."""
        if self._left and ready_s < self._now:
            return self._now
        self._step()
        if self._now <= ready_s:
            rounds, time = divmod(ready_s - self._base, self._times[-1])
            self._base += rounds * self._times[-1]
            self._index = bisect_right(self._times, time) - 1
            self._step()
        while self._now <= ready_s:
            self._step()
        return self._now

    def finish(self, begin_s: float, size: int) -> float:
        """Use up opportunities, the one that `begin` chose first."""
        while size > self._left:
            size -= self._left
            self._step()
        self._left -= size
        return self._now

    def failure_end(self, arrived_s: float, finish_s: float) -> float:
        """A trace of opportunities has no failures: what waits is carried when the trace goes on."""
        return 0.0

    def _step(self) -> None:
        self._index += 1
        if self._index == len(self._times):
            self._index = 0
            self._base += self._times[-1]
        self._now = self._base + self._times[self._index]
        self._left = OPPORTUNITY_BYTES


def outages(timeline: Timeline) -> list[tuple[float, float]]:
    """The spans of a timeline's period without a rate, in order; one that goes on in the next period ends after it."""
    found: list[tuple[float, float]] = []
    ends = [*(segment.start_s for segment in timeline.segments[1:]), timeline.period_s]
    for segment, end in zip(timeline.segments, ends, strict=True):
        if segment.rate_bps > 0:
            continue
        if found and found[-1][1] == segment.start_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((segment.start_s, end))
    if len(found) > 1 and found[0][0] == 0 and found[-1][1] == timeline.period_s:
        first = found.pop(0)
        found[-1] = (found[-1][0], timeline.period_s + first[1])
    return found


def bits_between(described: Timeline | Opportunities, begin_s: float, end_s: float) -> float:
    """The bits that a direction could carry between two times of its own clock, which is 0 at its start."""
    return _bits_until(described, end_s) - _bits_until(described, begin_s)


def _bits_until(described: Timeline | Opportunities, time_s: float) -> float:
    if isinstance(described, Opportunities):
        rounds, rest = divmod(time_s * 1000, described.times_ms[-1])
        count = rounds * len(described.times_ms) + bisect_right(described.times_ms, rest)
        return count * OPPORTUNITY_BYTES * 8
    rounds, rest = divmod(time_s, described.period_s)
    ends = [*(segment.start_s for segment in described.segments[1:]), described.period_s]
    whole = partial = 0.0
    for segment, end in zip(described.segments, ends, strict=True):
        whole += segment.rate_bps * (end - segment.start_s)
        partial += segment.rate_bps * max(0.0, min(rest, end) - segment.start_s)
    return rounds * whole + partial
