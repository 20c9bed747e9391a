"""What was set beside what a ping, a TCP and a UDP flow saw, and the rate at which the emulator gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean

from airserve.lab.capacity import bits_between
from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation
from airserve.lab.emulation_log import BIN_S
from airserve.lab.lateness import LATE_S
from airserve.lab.link import Link
from airserve.lab.loss import mean_loss
from airserve.lab.measure import ping, tcp_bps, udp
from airserve.lab.predict import predicted_rtts

RATE_BOUND = 0.05
DELAY_BOUND_S = 0.001
LOSS_BOUND = 0.10
_DELAY_S = 0.010
_LOSS = 0.02
_LOSS_PACKETS = 50_000
_SMALL_PACKET_BYTES = 128
_MOST_LATE_SHARE = 0.01
_MOST_OFFERED_BPS = 300e6
_LIMITS_MBPS = (400, 500, 600, 700, 800, 1000, 1200, 1500, 2000)


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: `set_to` and `seen` in `unit`, and `off` by how much against the `bound`, both in words."""

    link: str
    what: str
    set_to: float
    seen: float
    unit: str
    off: str
    bound: str
    holds: bool


def check_rate(rate_bps: float, *, rootless: bool | None = None, seconds: float = 3.0) -> Iterator[Finding]:
    """Round trip, TCP down and up, and UDP up, over a link of this rate each way and 10 ms one way."""
    link = _constant(f"{rate_bps / 1e6:g} Mb/s", rate_bps, 2 * _DELAY_S)
    with Emulation(link, rootless=rootless) as emulation:
        yield _delay(link.name, 2 * _DELAY_S + 2 * 44 * 8 / rate_bps, ping(emulation).median_s)
        for up in (False, True):
            seen = tcp_bps(emulation, up=up, seconds=seconds)
            yield _rate(link.name, f"TCP {'up' if up else 'down'}", rate_bps, seen)
        packets = rate_bps * 1.05 / 8 / emulation.mtu
        flow = udp(emulation, up=True, packets_a_second=packets, count=int(packets * 2), packet_bytes=emulation.mtu)
        yield _rate(link.name, "UDP up", rate_bps, flow.received_bps)
        yield from _lateness(link.name, emulation)


def check_loss(
    loss: float = _LOSS, *, packets: int = _LOSS_PACKETS, a_second: int = 8000, rootless: bool | None = None
) -> Finding:
    """The share of small packets that is lost on a link on which nothing else drops them."""
    rate = 2.0 * a_second * _SMALL_PACKET_BYTES * 8
    link = _constant(f"{loss:.0%} loss", rate, 2 * _DELAY_S, loss)
    with Emulation(link, rootless=rootless) as emulation:
        flow = udp(
            emulation, up=True, packets_a_second=a_second, count=packets, packet_bytes=_SMALL_PACKET_BYTES, quiet_s=0.5
        )
    return _loss(link.name, mean_loss(loss), flow.loss, flow.sent)


def check_link(link: Link, *, seed: int = 0, rootless: bool | None = None, seconds: float = 10.0) -> Iterator[Finding]:
    """A link that changes: round trips against those of its pipelines alone, and what it carried against its trace."""
    with Emulation(link, seed=seed, rootless=rootless) as emulation:
        began = emulation.elapsed_s()
        seen = ping(emulation, count=200, interval_s=0.05)
        yield _delay(
            link.name, predicted_rtts(link, seed=seed, start_s=began, count=200, interval_s=0.05), seen.median_s
        )
        for up in (False, True):
            yield _carried(link, emulation, up=up, seconds=seconds)
        yield from _lateness(link.name, emulation)


def find_limit(
    *, rootless: bool | None = None, rates_mbps: tuple[int, ...] = _LIMITS_MBPS, tell: Callable[[str], None]
) -> tuple[float, str]:
    """The highest rate, bit/s, up to which a TCP flow still runs true, and what went wrong at the next one."""
    reached = 0.0
    for rate_mbps in rates_mbps:
        tell(f"{rate_mbps} Mb/s")
        rate = rate_mbps * 1e6
        link = _constant("limit", rate, 0.004)
        with Emulation(link, rootless=rootless) as emulation:
            seen = tcp_bps(emulation, up=False, seconds=2.5)
            down = emulation.log().down
        if abs(seen / rate - 1) > RATE_BOUND:
            return reached, f"at {rate_mbps} Mb/s a TCP flow saw {seen / 1e6:.0f}"
        if down.late_share > _MOST_LATE_SHARE:
            return reached, f"at {rate_mbps} Mb/s {down.late_share:.1%} of the packets left more than 1 ms late"
        reached = rate
    return reached, "higher rates were not tried"


def _constant(name: str, rate_bps: float, rtt_s: float, loss: float = 0.0) -> Link:
    rate, rtt = f"{rate_bps / 1e3:.6f}kbit", f"{rtt_s * 1e3:.6f}ms"
    # A queue of 250 ms holds what a TCP flow needs, and bounds how long it takes to drain.
    return replace(constant_link(f"rate={rate},rtt={rtt},queue=250ms,loss={loss * 100:.6f}%"), name=name)


def _rate(link: str, what: str, set_to: float, seen: float) -> Finding:
    off = seen / set_to - 1
    return Finding(
        link, what, set_to / 1e6, seen / 1e6, "Mb/s", f"{off:+.1%}", f"{RATE_BOUND:.0%}", abs(off) <= RATE_BOUND
    )


def _delay(link: str, set_to: float, seen: float) -> Finding:
    off = seen - set_to
    return Finding(
        link, "round trip, median", set_to * 1e3, seen * 1e3, "ms", f"{off * 1e3:+.2f} ms",
        f"{DELAY_BOUND_S * 1e3:.0f} ms", abs(off) <= DELAY_BOUND_S,
    )  # fmt: skip


def _loss(link: str, set_to: float, seen: float, packets: int) -> Finding:
    off = seen / set_to - 1
    return Finding(
        link, f"loss of {packets} packets", set_to * 100, seen * 100, "%", f"{off:+.1%}", f"{LOSS_BOUND:.0%}",
        abs(off) <= LOSS_BOUND,
    )  # fmt: skip


def _carried(link: Link, emulation: Emulation, *, up: bool, seconds: float) -> Finding:
    """Fill the link with datagrams, and compare what left its queue with what its trace could carry meanwhile."""
    way = "up" if up else "down"
    capacity = getattr(link, way).capacity
    began = emulation.elapsed_s()
    average = bits_between(capacity, began, began + seconds) / seconds
    packet_bits = 8 * emulation.mtu
    # Three times the average keeps the queue full in all but the best moments.
    rate = min(average * 3, _MOST_OFFERED_BPS)
    udp(
        emulation, up=up, packets_a_second=rate / packet_bits, count=int(rate * seconds / packet_bits),
        packet_bytes=emulation.mtu,
    )  # fmt: skip
    log = emulation.log()
    first, last = int(began / BIN_S) + 5, int((began + seconds) / BIN_S)
    could, did = log.available_bps(way)[first:last], log.delivered_bps(way)[first:last]
    # Where the link could carry more than was offered, the offer is what must come through.
    return _rate(link.name, f"UDP {way}, {seconds:.0f} s of trace", fmean(min(bps, rate) for bps in could), fmean(did))


def _lateness(link: str, emulation: Emulation) -> Iterator[Finding]:
    log = emulation.log()
    for way, seen in (("up", log.up), ("down", log.down)):
        yield Finding(
            link, f"packets late by > {LATE_S * 1000:.0f} ms, {way}", 0.0, seen.late_share * 100, "%",
            f"{seen.late_share:+.2%}", f"{_MOST_LATE_SHARE:.0%}", seen.late_share <= _MOST_LATE_SHARE,
        )  # fmt: skip
