"""An emulated link, as data: what each direction can carry and when, and how the radio behaves.

Rates are bit/s of IP packets, times seconds, sizes bytes. What makes a packet late or lost, in the order in which it
happens to it: the queue (full: dropped), an uplink grant, the capacity, loss, the delay. During an outage (a rate of 0)
packets wait in the queue and burst afterwards; they are lost only after `radio_link_failure_s` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Segment:
    """From `start_s` on: `rate_bps`, a one-way delay of `delay_s`, and each packet lost with probability `loss`."""

    start_s: float
    rate_bps: float
    delay_s: float
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments in the order of their time, the first at 0; after `period_s` they begin again."""

    segments: tuple[Segment, ...]
    period_s: float


@dataclass(frozen=True, slots=True)
class Opportunities:
    """Delivery opportunities of 1504 bytes each, as mahimahi's traces list them; after the last they begin again.

    `times_ms` do not decrease, and the last is more than 0. Bytes of an opportunity that nobody needs are lost.
    """

    times_ms: tuple[int, ...]
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Loss in bursts: each packet moves from good to bad with `to_bad`, back with `to_good`.

    Source: Gilbert 1960, Elliott 1963; parameters p, r, 1-k and 1-h of tc-netem(8).
    """

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of the link. `grant_s` is what an uplink waits for its first grant after it had nothing to send.

    `jitter_s` is the standard deviation of a delay that is added to each packet; packets overtake each other only with
    `reorders`. `codel` drops by CoDel (RFC 8289) within the byte limit of the queue.
    """

    capacity: Timeline | Opportunities
    queue_bytes: int = 1_500_000
    codel: bool = False
    jitter_s: float = 0.0
    reorders: bool = False
    loss: float | GilbertElliott = 0.0
    grant_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Radio:
    """After `idle_after_s` without a packet the radio sleeps, and the next packet waits `wake_s` (RRC)."""

    idle_after_s: float
    wake_s: float


@dataclass(frozen=True, slots=True)
class Link:
    """Both directions, as the device sees them: `up` leaves it. `source` says where the figures are from."""

    name: str
    up: Direction
    down: Direction
    radio: Radio | None = None
    radio_link_failure_s: float = 2.0
    mtu: int = 1400
    source: str = ""
    tags: tuple[str, ...] = field(default=())
