"""An emulated link between two network namespaces, `device` and `cloud`, and commands that run in them.

    with Emulation(profile("5g-mmwave-driving"), seed=1) as emulation:
        emulation.cloud.popen(["airserve", "up", "--host", emulation.cloud_address])
        emulation.device.run(["curl", f"https://{emulation.cloud_address}:8443/v2"])

Nothing of the host changes: the namespaces have no name, and end with the process that made them. No kernel netem is
used: two processes, one a direction, move the packets between TUN devices.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
import warnings
from types import TracebackType
from typing import Any, Self

from airserve.core.errors import AirserveError, CannotEmulateError
from airserve.lab.emulation_log import EmulationLog, Event, direction_log
from airserve.lab.helpers import Helper
from airserve.lab.link import Link
from airserve.lab.link_document import to_document
from airserve.lab.missing import is_administrator, missing
from airserve.lab.namespace import Namespace
from airserve.lab.rrc import STATE_BYTES

MOST_DEVICES = 64

__all__ = ["MOST_DEVICES", "Emulation", "EmulationWarning", "missing"]


class EmulationWarning(UserWarning):
    """The machine was too slow for the link: figures of this run are distorted."""


class Emulation:
    """A context manager. `seed` decides every loss and jitter.

    `rootless` is whether to do it in a user namespace; without a value, that is where this process has no other way.
    With several `devices` each has a namespace and an address of its own (10.77.0.2 and on) and they share the link's
    capacity. Raises CannotEmulateError, with what the machine lacks.
    """

    cloud_address = "10.77.0.1"

    def __init__(
        self, link: Link, *, seed: int = 0, devices: int = 1, rootless: bool | None = None, mtu: int | None = None
    ) -> None:
        if not 1 <= devices <= MOST_DEVICES:
            raise ValueError(f"an emulation has 1 to {MOST_DEVICES} devices")
        self._link = link
        self._seed = seed
        self._count = devices
        self._rootless = not is_administrator() if rootless is None else rootless
        self.mtu = mtu or link.mtu
        self._helpers: list[Helper] = []
        self._fds: list[int] = []
        self._events: list[Event] = []
        self._log: EmulationLog | None = None
        self._started = 0.0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for sentence in self.log().warnings():
                    warnings.warn(sentence, EmulationWarning, stacklevel=2)
        finally:
            self._close()

    @property
    def device_address(self) -> str:
        """The address of the first device, which `restore` may have changed."""
        return self.device_addresses[0]

    @property
    def device(self) -> Namespace:
        """The first device, and for most experiments the only one."""
        return self.devices[0]

    def elapsed_s(self, at_s: float | None = None) -> float:
        """Seconds from the start, the time of the first link's timelines, to `at_s` of CLOCK_MONOTONIC, or to now."""
        return (time.monotonic() if at_s is None else at_s) - self._started

    def set_link(self, link: Link) -> None:
        """From now on the link is this one; its timelines begin now. What waits keeps waiting, in the same order."""
        now = time.monotonic()
        self._tell_movers({"link": to_document(link), "at": now})
        self._link = link
        self._events.append(Event(now - self._started, "link", link))

    def cut(self) -> None:
        """Lose the network: what is under way and all that comes is lost, both ways, until `restore`."""
        self._tell_movers({"cut": True})
        self._note("cut")

    def restore(self, address: str | None = None, *, device: int = 0) -> None:
        """The network is back; with `address` (of 10.77.0.0/24) the device has this one now and its old one no more."""
        if address is not None:
            answer = self._keeper.ask({"address": address, "device": device})
            if "error" in answer:
                raise CannotEmulateError(f"the device cannot have the address {address}: {answer['error']}")
            self.device_addresses[device] = address
            self._tell_movers({"addresses": self.device_addresses})
        self._tell_movers({"cut": False})
        self._note("restore", address=self.device_addresses[device])

    def log(self) -> EmulationLog:
        """What happened until now, or, after the end, until then."""
        if self._log is not None:
            return self._log
        up, down = (direction_log(mover.ask({"statistics": True})) for mover in self._movers)
        return EmulationLog(self._started, time.monotonic() - self._started, up, down, tuple(self._events))

    def listening_in_cloud(self, port: int) -> tuple[int, int]:
        """File descriptors of a TCP and a UDP socket that are bound to `port` of `cloud_address`, for this process."""
        answer, fds = self._keeper.ask_with_fds({"listen": port}, 2)
        if "error" in answer:
            raise CannotEmulateError(f"port {port} in `cloud` cannot be listened on: {answer['error']}")
        return fds[0], fds[1]

    def _start(self) -> None:
        self._keeper = self._helper(
            "keeper", [str(os.getpid()), "rootless" if self._rootless else "root", str(self._count), str(self.mtu)]
        )
        answer, self._fds = self._keeper.ask_with_fds(None, 2 * self._count + 3)
        if "error" in answer:
            reasons = missing(rootless=self._rootless, may_try=False) or [answer["error"]]
            raise CannotEmulateError("this machine cannot emulate a link: " + "; ".join(reasons))
        user = self._fds[0] if self._rootless else -1
        networks, tuns = (self._fds[self._rootless + offset :: 2] for offset in (0, 1))
        names = ["cloud", "device"] if self._count == 1 else ["cloud", *(f"device{n + 1}" for n in range(self._count))]
        self.cloud, *self.devices = (
            Namespace(name, user, network) for name, network in zip(names, networks, strict=True)
        )
        self.device_addresses = [f"10.77.0.{2 + number}" for number in range(self._count)]
        self._start_movers(tuns)

    def _start_movers(self, tuns: list[int]) -> None:
        radio_fd = os.memfd_create("radio")
        self._fds.append(radio_fd)
        os.truncate(radio_fd, STATE_BYTES * self._count)
        self._started = time.monotonic()
        with mmap.mmap(radio_fd, STATE_BYTES * self._count) as memory, memoryview(memory).cast("d") as state:
            for number in range(self._count):
                state[2 * number] = self._started  # the radio is awake at first
        cloud, devices = str(tuns[0]), ",".join(map(str, tuns[1:]))
        common = [str(radio_fd), repr(self._started), str(self._seed)]
        self._movers = [
            self._helper("mover", [*common, way, from_fds, to_fds], fds=(radio_fd, *tuns))
            for way, from_fds, to_fds in (("up", devices, cloud), ("down", cloud, devices))
        ]
        self._tell_movers({"addresses": self.device_addresses})
        self._tell_movers({"link": to_document(self._link), "at": self._started})
        self._events.append(Event(0.0, "link", self._link))

    def _helper(self, module: str, arguments: list[str], *, fds: tuple[int, ...] = ()) -> Helper:
        helper = Helper(f"airserve.lab.{module}", arguments, fds=fds)
        self._helpers.append(helper)
        return helper

    def _tell_movers(self, document: dict[str, Any]) -> None:
        for mover in self._movers:
            mover.ask(document)

    def _note(self, what: str, *, link: Link | None = None, address: str = "") -> None:
        self._events.append(Event(time.monotonic() - self._started, what, link, address))

    def _close(self) -> None:
        if self._log is None and len(self._helpers) == 3 and self._started:
            with contextlib.suppress(AirserveError):
                self._log = self.log()
        for helper in self._helpers:
            helper.close()
        self._helpers.clear()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
