"""What an emulation did, for tables and plots: counts, lateness, and the link's rate beside what was delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airserve.lab.capacity import bits_between
from airserve.lab.lateness import LATE_S
from airserve.lab.link import Link

BIN_S = 0.1
# More packets than this share a millisecond or more late, and the delays that are seen are no longer the link's.
_MOST_LATE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class DirectionLog:
    """One direction: counts summed over the devices, and bytes delivered in each tenth of a second since the start."""

    packets: int
    delivered: int
    delivered_bytes: int
    drops: dict[str, int]
    waiting: int
    bytes_per_bin: tuple[int, ...]
    late_share: float
    mean_late_s: float
    most_late_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """At `at_s` since the start, `what` happened: `link` (with the link), `cut` or `restore`."""

    at_s: float
    what: str
    link: Link | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class EmulationLog:
    """Times are seconds since the start, which is `started_s` of CLOCK_MONOTONIC; bins are of 0.1 s."""

    started_s: float
    lasted_s: float
    up: DirectionLog
    down: DirectionLog
    events: tuple[Event, ...] = field(default=())

    def delivered_bps(self, way: str) -> list[float]:
        """bit/s that came out of the direction `way`, "up" or "down", for each bin."""
        seen: DirectionLog = getattr(self, way)
        return [size * 8 / BIN_S for size in seen.bytes_per_bin]

    def available_bps(self, way: str) -> list[float]:
        """bit/s that the link could carry in the direction `way` for each bin; 0 while it is cut."""
        rates = []
        for number in range(int(self.lasted_s / BIN_S) + 1):
            begin = number * BIN_S
            set_at, link, cut = self._state_at(begin)
            if cut or link is None:
                rates.append(0.0)
                continue
            described = getattr(link, way).capacity
            rates.append(bits_between(described, max(0.0, begin - set_at), begin - set_at + BIN_S) / BIN_S)
        return rates

    def warnings(self) -> list[str]:
        """A sentence for each way in which the machine was too slow for the link."""
        found = []
        for way, seen in (("up", self.up), ("down", self.down)):
            if seen.late_share > _MOST_LATE_SHARE:
                found.append(
                    f"{seen.late_share:.1%} of the packets {way} left the emulator more than {LATE_S * 1000:.0f} ms "
                    f"late (up to {seen.most_late_s * 1000:.1f} ms): this machine is too busy or too slow for it, "
                    "so delays and rates of this run are not the link's"
                )
            if seen.drops["unwritten"]:
                found.append(f"{seen.drops['unwritten']} packets {way} were not taken by the kernel and are lost")
        return found

    def _state_at(self, time_s: float) -> tuple[float, Link | None, bool]:
        set_at, link, cut = 0.0, None, False
        for event in self.events:
            if event.at_s > time_s + BIN_S / 2:
                break
            if event.what == "link":
                set_at, link = event.at_s, event.link
            else:
                cut = event.what == "cut"
        return set_at, link, cut


def direction_log(answer: dict[str, Any]) -> DirectionLog:
    """The log of one direction from what its process answered."""
    total: dict[str, int] = {}
    for counters in answer["counters"]:
        for name, count in counters.items():
            total[name] = total.get(name, 0) + count
    drops = {
        "full": total["dropped_full"],
        "codel": total["dropped_codel"],
        "failure": total["dropped_failure"],
        "lost": total["lost"],
        "cut": total["cut"],
        "unwritten": answer["unwritten"],
    }
    late = answer["late"]
    return DirectionLog(
        total["arrived"], total["delivered"], total["delivered_bytes"], drops, sum(answer["waiting"]),
        tuple(answer["bytes_per_bin"]), late["late_share"], late["mean_s"], late["most_s"],
    )  # fmt: skip
