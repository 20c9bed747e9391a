"""Clients that would take the service down: it stays up, answers others, and gives back what they took."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.server.bad_inputs import BOMB, V2, head
from tests.server.h2_wire import H2Wire
from tests.server.processes import family_of, resident_bytes
from tests.server.wire import infer

SLOW = 80
"""Connections of each of the five slow kinds."""


def port_of(service: Service) -> int:
    return int(service.url.rsplit(":", 1)[1])


@pytest.fixture(autouse=True)
def the_service_goes_on(service: Service) -> Iterator[None]:
    yield
    assert infer(service).status == 200


def slow_kinds(service: Service) -> list[bytes]:
    """What a connection says before it falls silent, or stops reading."""
    key = service.key.encode()
    ask = b"GET /v2/models/linear HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key + b"\r\n\r\n"
    return [
        b"",
        b"POST /v2/models/linear/infer HTTP/1.1\r\nhost: x\r\nx-a",
        head("content-length: 900000").replace(b"KEY", key) + b"{",
        head("transfer-encoding: chunked").replace(b"KEY", key) + b"1\r\n{\r\n",
        ask * 300,
    ]


def test_hundreds_of_slow_connections_and_bombs_leave_others_alone(service: Service) -> None:
    for _ in range(50):
        infer(service)
    before = resident_bytes(service.process.pid)
    with contextlib.ExitStack() as stack:
        slow = [
            (stack.enter_context(socket.create_connection(("127.0.0.1", port_of(service)), timeout=20)), said)
            for said in slow_kinds(service) for _ in range(SLOW)
        ]  # fmt: skip
        for connection, said in slow:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.send(said)
        ended = threading.Event()
        bombing = threading.Thread(target=bomb, args=(service, ended))
        bombing.start()
        try:
            answers = [infer(service) for _ in range(200)]
            for connection, _ in slow[SLOW : 2 * SLOW]:
                with contextlib.suppress(OSError):
                    connection.send(b"a")
            answers += [infer(service) for _ in range(100)]
            taken = resident_bytes(service.process.pid)
        finally:
            ended.set()
            bombing.join(30)
    assert {answer.status for answer in answers} == {200}
    assert taken < 1.2 * before, f"{before >> 20} MiB became {taken >> 20} MiB"


def bomb(service: Service, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(service), timeout=20)
    while not ended.is_set():
        connection.request("POST", V2, BOMB, {**service.headers, "content-encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 413


# The front's library of HTTP/2 has bounds of its own above ours: 1,000 streams reset, 10,000 answers unread, and
# 8 CONTINUATION of one head. The first floods stay below them, so that it is our bound that ends them.


def rapid_reset(wire: H2Wire) -> None:
    for _ in range(900):
        stream = wire.begin("GET", "/v2/health/live", {}, ends=True)
        wire.h2.reset_stream(stream)
        wire.flush()


def endless_head(wire: H2Wire) -> None:
    """HEADERS that never end: CONTINUATION after CONTINUATION, 8 MB of them."""
    wire.send(frame(1, 0, 1, b"\x82\x87\x84\x41\x01x"))
    for _ in range(500):
        wire.send(frame(9, 0, 1, b"\x40\x01a\x7f\x80\x7f" + b"b" * 16378))


def settings_flood(wire: H2Wire) -> None:
    wire.send(frame(4, 0, 0, b"\0\3\0\0\0\x64") * 8000)


def ping_flood(wire: H2Wire) -> None:
    wire.send(frame(6, 0, 0, b"12345678") * 8000)


def empty_frames(wire: H2Wire) -> None:
    wire.begin("POST", V2, wire.headers, ends=False)
    wire.flush()
    wire.send(frame(0, 0, 1, b"") * 5000)


def thousands_of_streams(wire: H2Wire) -> None:
    """Far more than the 256 that the service allows: POST / over and over, none of which ends."""
    wire.send(b"".join(frame(1, 4, stream, b"\x83\x86\x84\x41\x01x") for stream in range(1, 10_001, 2)))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 §4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    "flood", [rapid_reset, endless_head, settings_flood, ping_flood, empty_frames, thousands_of_streams]
)
def test_a_flood_of_frames_ends_its_own_connection(service: Service, flood: Callable[[H2Wire], None]) -> None:
    before = resident_bytes(service.process.pid)
    with H2Wire(port_of(service)) as wire:
        with contextlib.suppress(ConnectionError, TimeoutError):
            wire.headers = service.headers
            flood(wire)
        assert wire.goodbye() != 0
        assert resident_bytes(service.process.pid) < 1.2 * before


def test_nobody_on_the_machine_can_stop_the_front_or_read_its_memory(service: Service) -> None:
    """Envoy has an address for its administrator, on loopback and without a key."""
    others = listening(service) - {port_of(service)}
    assert others
    for port in others:
        for method, path in (
            ("POST", "/quitquitquit"),
            ("GET", "/config_dump"),
            ("POST", "/heapprofiler"),
            ("GET", "/"),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, path)
            assert connection.getresponse().status == 403, path
            connection.close()


def listening(service: Service) -> set[int]:
    """The TCP ports on which the service's processes listen (proc(5))."""
    inodes = set()
    for pid in family_of(service.process.pid):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if found := re.fullmatch(r"socket:\[(\d+)\]", str(file.readlink())):
                    inodes.add(found[1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}
