"""What carries a session best: `python -m benchmarks link-transports`.

Each way carries 20 small frames a second over an emulated link: first undisturbed, for the age of the answers and the
device's processor time; then the link is cut for five seconds and comes back on another address, some times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from airserve.cli.demo_service import BehindLink, service_behind
from airserve.lab.link_files import load_link
from airserve.lab.service_process import stop
from benchmarks.cpu import tree_cpu_seconds
from benchmarks.link.resumption import CUT_S, Device, gaps
from benchmarks.report import Table, publish

RATE, DEADLINE_S, STEADY_S = 20.0, 0.5, 12.0
LINK = "up=10,down=50,rtt=60"
WAYS = {
    "session over pyqwest, HTTP/2 and HTTP/3 raced": ("session_client", "auto"),
    "session over pyqwest, HTTP/2": ("session_client", "2"),
    "session over pyqwest, HTTP/3": ("session_client", "3"),
    "one connection of pyqwest, HTTP/3, kept": ("kept_client", "pyqwest"),
    "one connection of qh3, kept (migration)": ("kept_client", "qh3"),
    "connections of qh3, resumed with early data (0-RTT)": ("kept_client", "qh3-0rtt"),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one way: ages in milliseconds, processor time a frame in milliseconds, seconds until frames flowed again."""

    p50_ms: float
    p95_ms: float
    cpu_ms: float
    gaps_s: list[float]
    fault: str = ""


def seen(behind: BehindLink, client: str, how: str, repeats: int) -> Seen:
    """Measure one way."""
    device = Device(behind, RATE, DEADLINE_S, how, client)
    try:
        device.wait_for_answers()
        time.sleep(1)
        begun, cpu = len(device.answers), tree_cpu_seconds(device.process.pid)
        time.sleep(STEADY_S)
        ages = sorted(each["age_ms"] for each in device.answers[begun:])
        cpu_ms = 1000 * (tree_cpu_seconds(device.process.pid) - cpu) / max(len(ages), 1)
        found, fault = [], ""
        try:
            for _ in range(repeats):
                found += gaps(behind, device, 1)
        except RuntimeError as error:
            fault = str(error)
        return Seen(statistics.median(ages), ages[int(0.95 * len(ages))], cpu_ms, found, fault)
    finally:
        stop(device.process)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(arguments).repeats
    rows = []
    with service_behind(load_link(LINK)) as behind:
        for name, (client, how) in WAYS.items():
            found = seen(behind, client, how, repeats)
            rows.append((name, *_cells(found, repeats)))
            print(rows[-1], flush=True)
    table = Table(
        f"20 frames a second over {LINK}",
        ("way", "age p50 ms", "p95 ms", "CPU ms a frame", "first answer after the return ms", "slowest ms"),
        rows,
        (
            f"{repeats} cuts of {CUT_S:g} s each; the device has another address afterwards. Frames of 256 bytes; "
            "processor time is that of the whole client, with making frames and printing answers.",
            "qh3 2.1 cannot resume as it comes: with the post-quantum key share, the first message of a resumed "
            "handshake is longer than the 2,048 bytes that it has for it (`BufferWriteError`). Measured without it.",
        ),
    )
    publish("transports", "What carries a session", [table], [], [])
    return 0


def _cells(found: Seen, repeats: int) -> tuple[str, ...]:
    if len(found.gaps_s) < repeats:
        again = ("never within 30 s", "")
    else:
        again = (f"{1000 * statistics.median(found.gaps_s):.0f}", f"{1000 * max(found.gaps_s):.0f}")
    return (f"{found.p50_ms:.1f}", f"{found.p95_ms:.1f}", f"{found.cpu_ms:.2f}", *again)


if __name__ == "__main__":
    raise SystemExit(main())
