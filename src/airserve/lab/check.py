"""What was set beside what a ping, a TCP and a UDP flow saw, and the rate at which the emulator gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from airserve.lab.capacity import bits_between
from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation
from airserve.lab.lateness import LATE_S
from airserve.lab.link import Link
from airserve.lab.loss import mean_loss
from airserve.lab.measure import ping, tcp_bps, udp
from airserve.lab.predict import predicted_packets, predicted_rtts

RATE_BOUND = 0.05
DELAY_BOUND_S = 0.001
LOSS_BOUND = 0.10
_DELAY_S = 0.010
_LOSS = 0.02
_LOSS_PACKETS = 50_000
_SMALL_PACKET_BYTES = 128
_MOST_LATE_SHARE = 0.01
_MOST_OFFERED_BPS = 300e6
_LONGEST_OUTAGE_S = 6.0
_LIMITS_MBPS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 1000, 1200, 1500, 2000)


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: `set_to` and `seen` in `unit`, and `off` by how much against the `bound`, both in words.

    Lateness only warns: it says why the figures of single packets may be off where those of the link are not.
    """

    link: str
    what: str
    set_to: float
    seen: float
    unit: str
    off: str
    bound: str
    holds: bool
    warns_only: bool = False


def check_rate(rate_bps: float, *, rootless: bool | None = None, seconds: float = 3.0) -> Iterator[Finding]:
    """Round trip, TCP down and up, and UDP up, over a link of this rate each way and 10 ms one way."""
    link = _constant(f"{rate_bps / 1e6:g} Mb/s", rate_bps, 2 * _DELAY_S)
    with Emulation(link, rootless=rootless) as emulation:
        yield _delay(link.name, 2 * _DELAY_S + 2 * 44 * 8 / rate_bps, ping(emulation).median_s)
        for up in (False, True):
            seen = tcp_bps(emulation, up=up, seconds=seconds)
            yield _rate(link.name, f"TCP {'up' if up else 'down'}", rate_bps, seen)
        # A quarter more than fits keeps something in the queue while the sender waits for its processor.
        packets = rate_bps * 1.25 / 8 / emulation.mtu
        flow = udp(emulation, up=True, packets_a_second=packets, count=int(packets * 2), packet_bytes=emulation.mtu)
        # A flow that its own sender could not send fast enough says nothing of the emulator.
        slow = "" if flow.sent_bps >= rate_bps else f" (its sender reached {flow.sent_bps / 1e6:.0f} Mb/s only)"
        yield _rate(link.name, f"UDP up{slow}", rate_bps, flow.received_bps)
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
        seen = ping(emulation, count=200, interval_s=0.05)
        yield _delay(
            link.name, predicted_rtts(link, seed=seed, start_s=seen.began_s, count=200, interval_s=0.05), seen.median_s
        )
        for up in (False, True):
            yield _carried(link, emulation, up=up, seed=seed, seconds=seconds)
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
        if down.mean_late_s > DELAY_BOUND_S:
            return reached, f"at {rate_mbps} Mb/s packets left {down.mean_late_s * 1e3:.1f} ms late on average"
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


def _carried(link: Link, emulation: Emulation, *, up: bool, seed: int, seconds: float) -> Finding:
    """Datagrams over the link: those that came against those that its pipeline alone lets through."""
    way = "up" if up else "down"
    direction = getattr(link, way)
    began = emulation.elapsed_s()
    average = bits_between(direction.capacity, began, began + seconds) / seconds
    bits = 8 * emulation.mtu
    # One and a half times the average fills the queue in bad moments and leaves it empty in good ones.
    a_second = max(20.0, min(average * 1.5, _MOST_OFFERED_BPS) / bits)
    count = int(a_second * seconds)
    flow = udp(
        emulation, up=up, packets_a_second=a_second, count=count, packet_bytes=emulation.mtu, quiet_s=_LONGEST_OUTAGE_S
    )
    set_to = predicted_packets(
        link, up=up, seed=seed, start_s=flow.began_s, count=count, interval_s=1 / a_second, size=emulation.mtu
    )
    return _rate(
        link.name, f"UDP {way}, {seconds:.0f} s of trace", set_to * bits / seconds, flow.received * bits / seconds
    )


def _lateness(link: str, emulation: Emulation) -> Iterator[Finding]:
    log = emulation.log()
    for way, seen in (("up", log.up), ("down", log.down)):
        yield Finding(
            link, f"packets late by > {LATE_S * 1000:.0f} ms, {way}", 0.0, seen.late_share * 100, "%",
            f"{seen.late_share:+.2%}", f"{_MOST_LATE_SHARE:.0%}", seen.late_share <= _MOST_LATE_SHARE,
            warns_only=True,
        )  # fmt: skip
