"""What a link would do to a ping, by its pipelines alone: the emulator's own measure, without a machine in between."""

from __future__ import annotations

import math
import statistics

from airserve.lab.link import Link
from airserve.lab.pipeline import Pipeline
from airserve.lab.rrc import SharedRadio

_PACKET = bytes(44)
_DRAINED_S = 60.0


def predicted_rtts(link: Link, *, seed: int, start_s: float, count: int, interval_s: float) -> float:
    """The median round-trip time, seconds, of `count` pings of 44 bytes that begin at `start_s` of the link's time."""
    radio = None if link.radio is None else SharedRadio(link.radio, [0.0, 0.0])
    up, down = (
        Pipeline(direction, seed=f"{seed} {way} 0", failure_s=link.radio_link_failure_s, mtu=link.mtu, radio=radio)
        for way, direction in (("up", link.up), ("down", link.down))
    )
    sent = [start_s + number * interval_s for number in range(count)]
    came: list[float] = []
    waiting = list(reversed(sent))
    while True:
        times = (waiting[-1] if waiting else math.inf, up.next_at(), down.next_at())
        now = min(times)
        if now == math.inf:
            break
        if waiting and waiting[-1] == now:
            up.arrive(_PACKET, waiting.pop())
        for due, packet in up.take(now):
            down.arrive(packet, max(due, now))
        came += [due for due, _ in down.take(now)]
    return statistics.median(back - begun for begun, back in zip(sent, came, strict=False)) if came else math.inf


def predicted_packets(
    link: Link, *, up: bool, seed: int, start_s: float, count: int, interval_s: float, size: int
) -> int:
    """How many of `count` packets of `size` bytes come through, sent from `start_s` of the link's time at this pace."""
    way = "up" if up else "down"
    radio = None if link.radio is None else SharedRadio(link.radio, [start_s, 0.0])
    pipeline = Pipeline(
        link.up if up else link.down,
        seed=f"{seed} {way} 0",
        failure_s=link.radio_link_failure_s,
        mtu=link.mtu,
        radio=radio,
    )
    packet = bytes(size)
    for number in range(count):
        now = start_s + number * interval_s
        pipeline.take(now)
        pipeline.arrive(packet, now)
    pipeline.take(start_s + count * interval_s + _DRAINED_S)
    return pipeline.counters.delivered
