"""Measure what a link does from within an emulation, by a ping, a TCP flow and a UDP flow."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from airserve.lab.emulation import Emulation
from airserve.lab.namespace import Namespace

_PORT = 5201
_IP_UDP_BYTES = 28
_IP_TCP_BYTES = 52  # with the timestamps that Linux always sends
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Ping:
    """Round-trip times of those that came back, seconds, sorted; how many were sent, and when the first was.

    `began_s` is seconds since the start of the emulation.
    """

    rtt_s: tuple[float, ...]
    sent: int
    began_s: float

    @property
    def median_s(self) -> float:
        """The median round-trip time; infinite where nothing came back."""
        return statistics.median(self.rtt_s) if self.rtt_s else float("inf")


@dataclass(frozen=True, slots=True)
class Flow:
    """IP packets of a UDP flow that were sent and came, the rates of their bytes, bit/s, and when the first was sent.

    `began_s` is seconds since the start of the emulation.
    """

    sent: int
    received: int
    sent_bps: float
    received_bps: float
    began_s: float

    @property
    def loss(self) -> float:
        """The share that did not come."""
        return 1 - self.received / self.sent


def ping(emulation: Emulation, *, count: int = 100, interval_s: float = 0.02, wait_s: float = 3.0) -> Ping:
    """Datagrams of 16 bytes (44 with their heads) from the device to `cloud` and back."""
    with _probe(emulation.cloud, "echo", _PORT) as server:
        _line(server)
        with _probe(emulation.device, "ping", emulation.cloud_address, _PORT, count, interval_s, wait_s) as client:
            seen = _line(client)
        server.kill()
    return Ping(
        tuple(sorted(rtt for rtt in seen["rtt_s"] if rtt is not None)), count, emulation.elapsed_s(seen["began"])
    )


def tcp_bps(emulation: Emulation, *, up: bool, seconds: float = 3.0, warm_s: float = 1.0) -> float:
    """The rate of IP bytes, bit/s, of one bulk TCP flow after its first `warm_s` seconds."""
    sender, receiver = _ends(emulation, up=up)
    address = emulation.device_address if up else emulation.cloud_address
    with _probe(sender, "tcp-from", _PORT, seconds) as server:
        _line(server)
        with _probe(receiver, "tcp-to", address, _PORT, warm_s) as client:
            seen = _line(client)
    mtu = emulation.mtu
    return float(seen["bytes"] * 8 / seen["seconds"] * mtu / (mtu - _IP_TCP_BYTES)) if seen["seconds"] > 0 else 0.0


def udp(
    emulation: Emulation,
    *,
    up: bool,
    packets_a_second: float,
    count: int,
    packet_bytes: int,
    warm_s: float = 0.3,
    quiet_s: float = 1.5,
) -> Flow:
    """A paced UDP flow of IP packets of `packet_bytes`, until nothing comes for `quiet_s`.

    Its rate is counted after its first `warm_s` seconds.
    """
    sender, receiver = _ends(emulation, up=up)
    address = emulation.cloud_address if up else emulation.device_address
    payload = packet_bytes - _IP_UDP_BYTES
    with _probe(receiver, "udp-to", _PORT, quiet_s, warm_s) as server:
        _line(server)
        with _probe(sender, "udp-from", address, _PORT, packets_a_second, count, payload) as client:
            sent = _line(client)
        seen = _line(server)
    bits = 8 * packet_bytes
    received_bps = seen["warm_bytes"] / payload * bits / seen["seconds"] if seen["seconds"] > 0 else 0.0
    sent_bps = sent["packets"] * bits / sent["seconds"]
    return Flow(sent["packets"], seen["packets"], sent_bps, received_bps, emulation.elapsed_s(sent["began"]))


def _ends(emulation: Emulation, *, up: bool) -> tuple[Namespace, Namespace]:
    return (emulation.device, emulation.cloud) if up else (emulation.cloud, emulation.device)


def _probe(place: Namespace, *arguments: object) -> subprocess.Popen[str]:
    return place.popen(
        [sys.executable, "-m", "airserve.lab.probe", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    if process.stdout is None:
        raise ValueError("the probe's output is not read")
    said: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
    return said
