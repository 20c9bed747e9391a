"""The flows by which the emulator is measured; one end of a flow a process, which prints one line of JSON at its end.

python -m airserve.lab.probe echo PORT
python -m airserve.lab.probe ping ADDRESS PORT COUNT INTERVAL_S WAIT_S
python -m airserve.lab.probe tcp-from PORT SECONDS            (sends to whoever connects)
python -m airserve.lab.probe tcp-to ADDRESS PORT WARM_S       (reads until the end; counts after WARM_S)
python -m airserve.lab.probe udp-to PORT QUIET_S WARM_S       (until QUIET_S of silence)
python -m airserve.lab.probe udp-from ADDRESS PORT PACKETS_A_SECOND COUNT SIZE

Servers print `{"ready": true}` first.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

from airserve.lab import syscalls

_HEAD = struct.Struct("!Qd")
_BUFFER = 4 << 20


def main() -> None:
    """One end of a flow."""
    ends: dict[str, Callable[..., None]] = {
        "echo": echo, "ping": ping, "tcp-from": tcp_from, "tcp-to": tcp_to, "udp-to": udp_to, "udp-from": udp_from,
    }  # fmt: skip
    ends[sys.argv[1]](*sys.argv[2:])


def echo(port: str) -> None:
    """Send back every datagram."""
    syscalls.before_others()
    with _bound(port) as channel:
        while True:
            data, sender = channel.recvfrom(65536)
            channel.sendto(data, sender)


def ping(address: str, port: str, count: str, interval_s: str, wait_s: str) -> None:
    """Round-trip times in seconds in the order of sending, null for what did not come back `wait_s` after the last."""
    syscalls.before_others()
    seen: list[float | None] = [None] * int(count)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, int(port)))
        begin = monotonic()
        for number in range(int(count)):
            while (left := begin + number * float(interval_s) - monotonic()) > 0:
                _receive_ping(channel, seen, left)
            channel.send(_HEAD.pack(number, monotonic()))
        give_up = monotonic() + float(wait_s)
        while None in seen and (left := give_up - monotonic()) > 0:
            _receive_ping(channel, seen, left)
    _say({"rtt_s": seen, "began": begin})


def _receive_ping(channel: socket.socket, seen: list[float | None], timeout_s: float) -> None:
    channel.settimeout(timeout_s)
    try:
        data = channel.recv(2048)
    except TimeoutError:
        return
    number, sent = _HEAD.unpack_from(data)
    seen[number] = monotonic() - sent


def tcp_from(port: str, seconds: str) -> None:
    """Send to the first that connects for so long."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", int(port)))  # noqa: S104  # a namespace of its own
        listener.listen(1)
        _say({"ready": True})
        channel, _ = listener.accept()
        with channel:
            end, block = monotonic() + float(seconds), bytes(65536)
            while monotonic() < end:
                channel.sendall(block)


def tcp_to(address: str, port: str, warm_s: str) -> None:
    """Bytes that came after `warm_s`, and the seconds in which they did."""
    received, since, until = 0, 0.0, 0.0
    with socket.create_connection((address, int(port))) as channel:
        warm, buffer = monotonic() + float(warm_s), bytearray(1 << 20)
        while size := channel.recv_into(buffer):
            until = monotonic()
            if since:
                received += size
            elif until >= warm:
                since = until
    _say({"bytes": received, "seconds": until - since})


def udp_to(port: str, quiet_s: str, warm_s: str) -> None:
    """Packets and bytes in all; and bytes after `warm_s` with the seconds from the first of them to the last."""
    syscalls.before_others()
    packets = size = 0
    warm_bytes, first, since, until = 0, 0.0, 0.0, 0.0
    with _bound(port) as channel:
        while True:
            try:
                data = channel.recv(65536)
            except TimeoutError:
                break
            until = monotonic()
            if not packets:
                first = until
                channel.settimeout(float(quiet_s))
            packets += 1
            size += len(data)
            if since:
                warm_bytes += len(data)
            elif until >= first + float(warm_s):
                since = until
    _say({"packets": packets, "bytes": size, "warm_bytes": warm_bytes, "seconds": until - since})


def udp_from(address: str, port: str, rate: str, count: str, size: str) -> None:
    """Send `count` datagrams of `size` bytes, paced at `rate` a second, in the millisecond's bursts."""
    syscalls.before_others()
    total, each = int(count), 1 / float(rate)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        # Not connected: a receiver that has gone after an outage is no error of the sender's.
        begin, sent, payload, there = monotonic(), 0, bytes(int(size)), (address, int(port))
        while sent < total:
            due = min(total, int((monotonic() - begin) / each) + 1)
            while sent < due:
                channel.sendto(payload, there)
                sent += 1
            time.sleep(max(each, 0.0005))
        _say({"packets": sent, "seconds": monotonic() - begin, "began": begin})


def _bound(port: str) -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    channel.bind(("0.0.0.0", int(port)))  # noqa: S104  # a namespace of its own
    _say({"ready": True})
    return channel


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
