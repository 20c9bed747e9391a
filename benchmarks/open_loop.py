"""An open-loop load generator: calls come at random moments (Poisson), whether or not the answers keep up.

A closed loop slows down with the server, and so never shows what a rush does to it. Each call takes a connection that
is free, or opens one; HTTP/1.1 over plain sockets on uvloop. Times count from when a call was due.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_VARIANT = re.compile(rb"\r\nairserve-variant: ([^\r]+)", re.IGNORECASE)
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call: which of the requests it was, its status (0: no answer), seconds, variant and body."""

    request: int
    status: int
    seconds: float
    variant: str
    body: bytes


def run(url: str, requests: Sequence[bytes], *, calls_a_second: float, seconds: float, seed: int) -> list[Reply]:
    """Send `requests` in turn for `seconds`, and wait for the last answers."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    return uvloop.run(_run(address, requests, calls_a_second, seconds, random.Random(seed)))


async def _run(
    address: tuple[str, int], requests: Sequence[bytes], calls_a_second: float, seconds: float, draw: random.Random
) -> list[Reply]:
    loop = asyncio.get_running_loop()
    free: list[_Connection] = []
    replies: list[Reply] = []
    under_way: set[asyncio.Task[None]] = set()

    async def call(number: int, due: float) -> None:
        connection = free.pop() if free else (await loop.create_connection(_Connection, *address))[1]
        request = number % len(requests)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head, body = await connection.ask(requests[request])
        except (TimeoutError, ConnectionError):
            replies.append(Reply(request, 0, loop.time() - due, "", b""))
            return
        variant = _VARIANT.search(head)
        status = int(head[9:12])
        replies.append(Reply(request, status, loop.time() - due, variant[1].decode() if variant else "", body))
        free.append(connection)

    began = due = loop.time()
    number = 0
    while due < began + seconds:
        due += draw.expovariate(calls_a_second)
        await asyncio.sleep(due - loop.time())
        task = loop.create_task(call(number, due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
    await asyncio.gather(*under_way)
    for connection in free:
        connection.close()
    return replies


class _Connection(asyncio.Protocol):
    """One keep-alive connection, with one call in flight."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not derive from it

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        assert self._transport is not None
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._received[: end + 2])
        length = _LENGTH.search(head)
        if length is not None and len(self._received) - end - 4 >= int(length[1]):
            self._answer.set_result((head, bytes(self._received[end + 4 :])))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
