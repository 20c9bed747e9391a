"""The process that moves the packets of one direction between TUN devices.

python -m airserve.lab.mover CONTROL_FD RADIO_FD START_S SEED up|down FROM_FD,… TO_FD,…

Up, packets come from the devices and go to `cloud`; down, they come from `cloud` and go to the device that has their
destination. START_S is the time of CLOCK_MONOTONIC at which the link's own time begins. Over the control socket come
lines of JSON, each answered by one: a link, a cut, the devices' addresses, or the statistics. The process ends
when that socket closes.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from time import monotonic
from typing import Any

from airserve.lab import syscalls
from airserve.lab.capacity import capacity
from airserve.lab.cell import Cell
from airserve.lab.lateness import Lateness, Oversleeps
from airserve.lab.link import Link
from airserve.lab.link_document import from_document
from airserve.lab.pipeline import Pipeline
from airserve.lab.rrc import STATE_BYTES, SharedRadio

BIN_S = 0.1
_MOST_AT_ONCE = 32
_LONGEST_PACKET = 65536
_A_WHILE_S = 3600.0


class Mover:
    """Reads packets, asks their pipeline, writes those that are due, and counts."""

    def __init__(
        self, start_s: float, seed: str, up: bool, from_fds: list[int], to_fds: list[int], radio_fd: int
    ) -> None:
        self._start = start_s
        self._seed = seed
        self._up = up
        self._from = from_fds
        self._to = to_fds
        self._devices = len(from_fds if up else to_fds)
        self._radio = memoryview(mmap.mmap(radio_fd, STATE_BYTES * self._devices)).cast("d")
        self._pipelines: list[Pipeline] = []
        self._device_of: dict[bytes, int] = {}
        self._cut = False
        self._late = Lateness()
        self._oversleeps = Oversleeps()
        self._bins: list[int] = []
        self._unwritten = 0

    def run(self, control: socket.socket) -> None:
        """Until the control socket closes."""
        watched = [control.fileno()]
        while True:
            timeout = self._timeout()
            asleep = monotonic()
            readable = select.select(watched, (), (), timeout)[0]
            if timeout and not readable:
                self._oversleeps.add(monotonic() - asleep - timeout)
            for fd in readable:
                if fd == control.fileno():
                    line = _request(control)
                    if not line:
                        return
                    control.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")
                    watched = [control.fileno(), *self._from]
                else:
                    self._read(fd)
            self._write()

    def _timeout(self) -> float | None:
        """Seconds until a packet is due, less what sleeps take too long here: then they end when it is."""
        left = min((pipeline.next_at() for pipeline in self._pipelines), default=math.inf) - monotonic()
        return None if left > _A_WHILE_S else max(0.0, left - self._oversleeps.usual_s)

    def _read(self, fd: int) -> None:
        pipelines, device_of = self._pipelines, self._device_of
        own = pipelines[self._from.index(fd)] if self._up else None
        with suppress(BlockingIOError):
            for _ in range(_MOST_AT_ONCE):
                packet = os.read(fd, _LONGEST_PACKET)
                if own is not None:
                    pipeline = own
                else:
                    index = device_of.get(packet[16:20])
                    if index is None:
                        continue  # nobody has this address (any more)
                    pipeline = pipelines[index]
                if self._cut:
                    pipeline.counters.arrived += 1
                    pipeline.counters.cut += 1
                else:
                    pipeline.arrive(packet, monotonic())

    def _write(self) -> None:
        for index, pipeline in enumerate(self._pipelines):
            taken = pipeline.take(monotonic())
            if not taken:
                continue
            fd = self._to[0 if self._up else index]
            now = monotonic()
            size = 0
            for due, packet in taken:
                try:
                    os.write(fd, packet)
                except OSError:
                    self._unwritten += 1
                size += len(packet)
                self._late.add(now - due)
            slot = int((now - self._start) / BIN_S)
            if slot >= len(self._bins):
                self._bins.extend([0] * (slot + 1 - len(self._bins)))
            self._bins[slot] += size

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "link" in asked:
            self._set_link(from_document(asked["link"]), asked["at"])
        elif "cut" in asked:
            self._cut = asked["cut"]
            if self._cut:
                for pipeline in self._pipelines:
                    pipeline.cut()
        elif "addresses" in asked:
            self._device_of = {socket.inet_aton(text): index for index, text in enumerate(asked["addresses"])}
        elif "statistics" in asked:
            return {
                "counters": [asdict(pipeline.counters) for pipeline in self._pipelines],
                "waiting": [pipeline.waiting() for pipeline in self._pipelines],
                "bytes_per_bin": self._bins,
                "unwritten": self._unwritten,
                "late": self._late.summary(),
            }
        return {}

    def _set_link(self, link: Link, at_s: float) -> None:
        direction = link.up if self._up else link.down
        cell = None
        if self._devices > 1:
            cell = Cell(capacity(direction.capacity, start_s=at_s, failure_s=link.radio_link_failure_s))
        made = []
        for index in range(self._devices):
            state = self._radio[2 * index : 2 * index + 2]
            made.append(
                Pipeline(
                    direction,
                    seed=f"{self._seed} {'up' if self._up else 'down'} {index}",
                    start_s=at_s,
                    failure_s=link.radio_link_failure_s,
                    mtu=link.mtu,
                    radio=None if link.radio is None else SharedRadio(link.radio, state),
                    cell=cell,
                )
            )
        now = monotonic()
        for old, new in zip(self._pipelines, made, strict=False):
            old.hand_over(new, now)
        self._pipelines = made


def _request(control: socket.socket) -> bytes:
    """One line, or nothing at the end; the owner waits for each answer, so that no second line follows at once."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = control.recv(1 << 20)
        if not part:
            return b""
        line += part
    return bytes(line)


def main() -> None:
    """Move packets until the owner closes the control socket."""
    control_fd, radio_fd = int(sys.argv[1]), int(sys.argv[2])
    start_s, seed, up = float(sys.argv[3]), sys.argv[4], sys.argv[5] == "up"
    from_fds, to_fds = ([int(fd) for fd in listed.split(",")] for listed in sys.argv[6:8])
    syscalls.exact_timers()
    syscalls.before_others()
    with suppress(KeyboardInterrupt):
        Mover(start_s, seed, up, from_fds, to_fds, radio_fd).run(socket.socket(fileno=control_fd))


if __name__ == "__main__":
    main()
