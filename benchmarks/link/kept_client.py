"""Frames over one HTTP/3 connection, to compare with a session: `python -m … RATE DEADLINE qh3|qh3-0rtt|pyqwest`.

`qh3` and `pyqwest` keep one connection over a new address (RFC 9000 §9) and go on asking over it; `qh3-0rtt` opens
another one every 100 ms while it is silent, with a ticket, and with the newest frame as early data (RFC 9001 §4.6).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from qh3 import tls
from qh3.asyncio.client import connect
from qh3.asyncio.protocol import QuicConnectionProtocol
from qh3.h3.connection import H3Connection
from qh3.h3.events import DataReceived, HeadersReceived
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.events import HandshakeCompleted, QuicEvent

from airserve.client.calls import new_call_id
from airserve.client.exchange import HttpRequest, infer_request
from airserve.client.session.line import Line, Ways
from airserve.core.errors import AirserveError

# Its key share makes the first message of a resumed handshake longer than the 2,048 bytes that qh3 2.1 has for it.
_POST_QUANTUM = tls.Group.X25519ML768
SILENT_S = 0.2
EVERY_S = 0.1


class Http3(QuicConnectionProtocol):
    """Requests over one connection; each future is done with its answer's status."""

    early: bool | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._http: H3Connection | None = None
        self._waiting: dict[int, tuple[asyncio.Future[int], list[int]]] = {}

    def ask(self, request: HttpRequest, headers: dict[str, str]) -> asyncio.Future[int]:
        """The status to come."""
        if self._http is None:
            self._http = H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"airserve"),
                  (b":path", request.path.encode())]  # fmt: skip
        fields += [(name.encode(), value.encode()) for name, value in headers.items()]
        self._http.send_headers(stream, fields)
        self._http.send_data(stream, request.body, end_stream=True)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = future, []
        self.transmit()
        return future

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answers, and whether early data were taken."""
        if isinstance(event, HandshakeCompleted):
            self.early = event.early_data_accepted
        if self._http is None:
            return
        for each in self._http.handle_event(event):
            future, status = self._waiting.get(each.stream_id, (None, []))  # type: ignore[attr-defined, arg-type]
            if isinstance(each, HeadersReceived):
                status.append(int(dict(each.headers)[b":status"]))
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_ended and future is not None:
                self._waiting.pop(each.stream_id)
                if not future.done():
                    future.set_result(status[0])


class Kept:
    """The same over pyqwest."""

    early = None

    def __init__(self, line: Line) -> None:
        self._line = line

    def ask(self, request: HttpRequest, headers: dict[str, str]) -> asyncio.Future[int]:
        """The status to come."""

        async def status() -> int:
            return (await self._line.send(request, headers, None)).status

        return asyncio.ensure_future(status())


class Device:
    """Frames at a rate over whichever connection stands."""

    def __init__(self, rate: float, deadline: float, how: str) -> None:
        self.rate, self.deadline, self.how = rate, deadline, how
        parts = urlsplit(os.environ["AIRSERVE_URL"])
        self._host, self._port = str(parts.hostname), int(parts.port or 443)
        self._ways = Ways(os.environ["AIRSERVE_URL"], "3", os.environ["AIRSERVE_CA"], None)
        self._ca = Path(os.environ["AIRSERVE_CA"]).read_bytes()
        self._ticket: Any = None
        self._line: Http3 | Kept | None = None
        self._ends: list[asyncio.Task[None]] = []
        self._heard = self._asked = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.early_taken: list[bool | None] = []

    async def run(self) -> None:
        """Until standard input ends."""
        over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        self._line = Kept(await self._ways.open("3")) if self.how == "pyqwest" else await self._open(wait=True)
        random, number, next_at = np.random.default_rng(1), 0, time.monotonic()
        cpu, searching_at = time.process_time(), 0.0
        while not over.done():
            number += 1
            now = time.monotonic()
            silent = self._asked > self._heard and now - max(self._heard, self._first_asked) > SILENT_S
            request = infer_request(
                "digits", {"x": random.random((1, 64), np.float32)}, version=None, outputs=None, call_id=new_call_id()
            )
            if not silent:
                self._begin(self._frame(self._line, request, number, now))
            elif now - searching_at >= EVERY_S:
                searching_at = now
                if self.how == "qh3-0rtt":
                    self._begin(self._resume(request, number, now))
                else:
                    self._begin(self._frame(self._line, request, number, now))
            next_at += 1 / self.rate
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        cpu = time.process_time() - cpu
        print(json.dumps({"stats": {"given": number, "early_taken": self.early_taken[-40:]}, "cpu_s": cpu}), flush=True)
        os._exit(0)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _frame(self, line: Http3 | Kept, request: HttpRequest, number: int, made: float) -> None:
        if self._asked <= self._heard:
            self._first_asked = time.monotonic()
        self._asked = time.monotonic()
        headers = {**request.headers, "authorization": f"Bearer {os.environ['AIRSERVE_KEY']}"}
        with suppress(TimeoutError, ConnectionError, AirserveError):
            async with asyncio.timeout(max(self.deadline, 1.0)):
                status = await line.ask(request, headers)
            self._heard = now = time.monotonic()
            self._line = line
            if status == 200:
                told = {"at": now, "frame": number, "age_ms": 1000 * (now - made), "transport": self.how}
                print(json.dumps(told), flush=True)

    async def _resume(self, request: HttpRequest, number: int, made: float) -> None:
        with suppress(OSError, TimeoutError, ConnectionError):
            line = await self._open(wait=self._ticket is None)
            await self._frame(line, request, number, made)
            self.early_taken.append(line.early)

    async def _open(self, *, wait: bool) -> Http3:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], cadata=self._ca, idle_timeout=60)
        configuration.session_ticket = self._ticket
        if self.how == "qh3-0rtt":
            _without_post_quantum()
        ready: asyncio.Future[Http3] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            async with connect(
                self._host, self._port, configuration=configuration, create_protocol=Http3, wait_connected=wait,
                session_ticket_handler=self._keep,
            ) as line:  # fmt: skip
                ready.set_result(line)  # type: ignore[arg-type]
                await asyncio.Event().wait()

        self._ends.append(asyncio.get_running_loop().create_task(hold()))
        return await ready

    def _keep(self, ticket: Any) -> None:
        self._ticket = ticket

    _first_asked = 0.0


def _without_post_quantum() -> None:
    made = tls.Context.__init__

    def without(context: Any, *given: Any, **named: Any) -> None:
        made(context, *given, **named)
        context._supported_groups = [each for each in context._supported_groups if each != _POST_QUANTUM]

    if made.__name__ != without.__name__:
        tls.Context.__init__ = without  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    asyncio.run(Device(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]).run())
