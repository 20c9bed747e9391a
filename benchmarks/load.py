"""A closed-loop load generator: every connection sends its next call when the answer to the last one is complete.

HTTP/1.1 is spoken over plain sockets on uvloop, so that the client takes as little as possible of the two cores that it
shares with the server. Any answer but a complete 200 of the expected length ends the measurement with an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.cpu import tree_cpu_seconds

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One cell of a table: rates per second, latencies in milliseconds, CPU in microseconds per call."""

    connections: int
    calls: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    client_us: float
    server_us: float


def median(rounds: Sequence[Measurement]) -> Measurement:
    """The round with the median rate."""
    return sorted(rounds, key=lambda cell: cell.calls_per_s)[len(rounds) // 2]


class Recorder:
    """Counts answers between `begin` and `end`, and the CPU that both sides used for them."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._latencies: list[float] = []
        self._began = (0.0, 0.0, 0.0)
        self._ended = (0.0, 0.0, 0.0)

    def add(self, seconds: float) -> None:
        """One answer came, `seconds` after its call was sent."""
        self._latencies.append(seconds)

    def begin(self) -> None:
        """Forget the warm-up."""
        self._latencies.clear()
        self._began = self._now()

    def end(self) -> None:
        """Answers that come later do not count."""
        self._ended = self._now()
        self._latencies = list(self._latencies)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), tree_cpu_seconds(self._server_pid)

    def measurement(self, connections: int) -> Measurement:
        """What was seen; raises where no call was answered."""
        latencies = np.array(self._latencies)
        calls = len(latencies)
        if not calls:
            raise RuntimeError("no call was answered in the measured time; give it more seconds")
        seconds, client, server = (end - begin for end, begin in zip(self._ended, self._began, strict=True))
        return Measurement(
            connections=connections,
            calls=calls,
            calls_per_s=calls / seconds,
            p50_ms=float(np.percentile(latencies, 50)) * 1e3,
            p99_ms=float(np.percentile(latencies, 99)) * 1e3,
            client_us=client / calls * 1e6,
            server_us=server / calls * 1e6,
        )


def http1_request(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole POST request of HTTP/1.1."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def measure_http1(
    url: str,
    request: bytes,
    *,
    connections: int,
    seconds: float,
    server_pid: int,
    answer_length: int | None = None,
    warm_up: float = WARM_UP_SECONDS,
) -> Measurement:
    """Send `request` to the host of `url` for `seconds` over `connections` keep-alive connections.

    `answer_length` is the length in bytes that every answer's body must have; None where it may vary.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    return uvloop.run(_measure(address, request, connections, seconds, server_pid, answer_length, warm_up))


def one_answer(url: str, request: bytes) -> bytes:
    """The body of the answer to a single call, for a check that the server computes what it should."""
    import socket

    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=30) as connection:
        connection.sendall(request)
        received = bytearray()
        while True:
            answer = _split(received)
            if answer is not None and len(received) - answer[1] >= answer[2]:
                break
            data = connection.recv(1 << 16)
            if not data:
                raise RuntimeError("the server closed the connection before its answer was complete")
            received += data
    status, start, length = answer
    if status != 200:
        raise RuntimeError(
            f"the server answered {status}: {bytes(received[start : start + 300]).decode(errors='replace')}"
        )
    return bytes(received[start : start + length])


async def _measure(
    address: tuple[str, int],
    request: bytes,
    connections: int,
    seconds: float,
    server_pid: int,
    answer_length: int | None,
    warm_up: float,
) -> Measurement:
    loop = asyncio.get_running_loop()
    run = _Run(request, answer_length, Recorder(server_pid), loop.create_future())
    opened = [(await loop.create_connection(lambda: _Connection(run), *address))[1] for _ in range(connections)]
    try:
        for connection in opened:
            connection.send()
        for wait, then in ((warm_up, run.recorder.begin), (seconds, run.recorder.end)):
            await asyncio.wait({run.failed}, timeout=wait)
            if run.failed.done():
                run.failed.result()
            then()
    finally:
        run.stopping = True
        for connection in opened:
            connection.close()
    return run.recorder.measurement(connections)


class _Run:
    """What the connections of one measurement share."""

    __slots__ = ("answer_length", "failed", "recorder", "request", "stopping")

    def __init__(
        self, request: bytes, answer_length: int | None, recorder: Recorder, failed: asyncio.Future[None]
    ) -> None:
        self.request = request
        self.answer_length = answer_length
        self.recorder = recorder
        self.failed = failed
        self.stopping = False

    def fail(self, why: str) -> None:
        if not self.failed.done() and not self.stopping:
            self.failed.set_exception(RuntimeError(why))


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one call in flight."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not derive from it

    def send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._run.request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        answer = _split(data)
        if answer is None or len(data) - answer[1] < answer[2]:
            self._received = data
            return
        self._received = b""
        run = self._run
        status, start, length = answer
        if status != 200 or len(data) != start + length or run.answer_length not in (None, length):
            run.fail(_complaint(status, data[start:], length, run.answer_length))
        elif not run.stopping:
            run.recorder.add(time.perf_counter() - self._sent_at)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.fail(f"the server closed a connection: {exc or 'no more data'}")


def _split(data: bytes | bytearray) -> tuple[int, int, int] | None:
    """Status, where the body starts, and its length; None while the head is incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise RuntimeError("the answer has no content-length, which this load generator needs")
    stop = head.find(b"\r\n", at + 17)
    return int(head[9:12]), end + 4, int(head[at + 17 : stop if stop >= 0 else end])


def _complaint(status: int, body: bytes, length: int, wanted: int | None) -> str:
    if status != 200:
        return f"the server answered {status}: {body[:300].decode(errors='replace')}"
    return f"the server answered {length} bytes ({len(body)} received), expected {wanted or length}"
