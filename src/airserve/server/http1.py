"""HTTP/1.1 on asyncio: bytes of a connection <-> Request and Encoded (RFC 9110, RFC 9112).

`httptools` (llhttp, the parser of Node.js, in its strict mode) reads heads, chunked bodies and small ones. A body
whose length is known and that has not come with its head is received straight into one buffer, so that a large
tensor is never copied. One task answers each request; it is cancelled when the client goes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
import numpy as np
import structlog

from airserve.core.errors import AirserveError, HeadTooLargeError, InvalidInputError, RequestTimeoutError
from airserve.protocols.encoded import Encoded, Stream
from airserve.protocols.open_inference import render_error
from airserve.server.body import too_large
from airserve.server.http import Request

log = structlog.get_logger("airserve.server")

Handle = Callable[[Request], Awaitable[Encoded]]

MAX_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 10.0
SILENT_SECONDS = 300.0
KEEP_ALIVE_SECONDS = 3600.0
_LINGER_SECONDS = 2.0
_SWEEP_SECONDS = 1.0
_BACKLOG = 1024
_SCRATCH_BYTES = 256 << 10
_JOIN_BELOW = 64 << 10
_FOREVER = float("inf")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Http1Server:
    """Serves listening sockets on the event loop that it was made on.

    `headers` go with every reply.
    """

    def __init__(self, handle: Handle, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.handle = handle
        self.loop = asyncio.get_running_loop()
        self.connections: set[_Connection] = set()
        # One for all: what is received into it is parsed, or copied, before the loop reads another connection.
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._headers = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._common = (0, b"")
        self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        self._listeners: list[asyncio.Server] = []

    async def listen_unix(self, path: Path) -> None:
        """Accept connections on a Unix domain socket."""
        listener = await self.loop.create_unix_server(lambda: _Connection(self), str(path), backlog=_BACKLOG)
        self._listeners.append(listener)

    def close(self) -> None:
        """Accept no more connections, and drop those that there are."""
        self._sweeping.cancel()
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.abort()

    @property
    def common_headers(self) -> bytes:
        """The header lines of every reply, `Date` among them."""
        second = int(time.time())
        if second != self._common[0]:
            self._common = (second, f"date: {formatdate(second, usegmt=True)}\r\n".encode() + self._headers)
        return self._common[1]

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [each for each in self.connections if each.deadline < now]:
            connection.expire()
        self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


class _Exchange:
    """One request as it comes in; `length` is None while the body is chunked."""

    __slots__ = ("body", "buffer", "complete", "connection", "filled", "headers", "keep_alive", "length", "limit",
                 "method", "path", "started_ns", "version", "waiter")  # fmt: skip

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.method = ""
        self.path = b""
        self.version = ""
        self.headers: dict[bytes, bytes] = {}
        self.keep_alive = True
        self.length: int | None = None
        self.complete = False
        self.started_ns = 0
        # Pieces of the body until somebody reads it; then, where its length is known, one buffer.
        self.body: list[bytes] = []
        self.filled = 0
        self.buffer: memoryview | None = None
        self.limit = 0
        self.waiter: asyncio.Future[None] | None = None

    async def read(self, limit: int) -> bytes | memoryview:
        """The whole body. Raises `TooLargeError` before it is received where its length tells."""
        if max(self.length or 0, self.filled) > limit:
            raise too_large(limit)
        if not self.complete:
            self.limit = limit
            self.waiter = self.connection.want_body(self)
            await self.waiter
        if self.buffer is not None:
            return self.buffer
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def add(self, piece: bytes) -> None:
        """A piece that the parser has cut out."""
        end = self.filled + len(piece)
        if self.buffer is not None:
            self.buffer[self.filled : end] = piece
        else:
            self.body.append(piece)
        self.filled = end
        if self.waiter is not None and not self.waiter.done() and end > self.limit:
            self.waiter.set_exception(too_large(self.limit))

    def finish(self) -> None:
        """The body is whole."""
        self.complete = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _Connection(asyncio.BufferedProtocol):
    """One connection. Requests are answered one after another, in the order in which they came (RFC 9112 §9.3).

    `deadline` is when the connection has waited too long for its peer, on the loop's clock.
    """

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self._loop = server.loop
        self.deadline = self._loop.time() + KEEP_ALIVE_SECONDS
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: _Exchange | None = None
        self._in_head = False
        self._head_bytes = 0
        # While a parser reads a head that we made ourselves.
        self._leading = False
        self._waiting: deque[_Exchange | AirserveError] = deque()
        self._current: _Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._direct: _Exchange | None = None
        self._full = False
        self._drained: asyncio.Future[None] | None = None
        self._broken = False
        self._closing = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not derive from it
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """Who closes its half has gone: nothing tells it from one that will never read the answer."""
        return False

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()
        self.deadline = self._loop.time() + SILENT_SECONDS

    def resume_writing(self) -> None:
        self._full = False
        self._transport.resume_reading()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._current is None:
            self._next()
        else:
            self.deadline = _FOREVER

    def get_buffer(self, sizehint: int) -> memoryview:
        exchange = self._direct
        if exchange is None:
            return self._server.scratch
        assert exchange.buffer is not None  # noqa: S101
        return exchange.buffer[exchange.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._direct
        if exchange is None:
            if not (self._closing or self._broken):
                self._parse(self._server.scratch[:nbytes])
            return
        exchange.filled += nbytes
        self.deadline = self._loop.time() + SILENT_SECONDS
        if exchange.filled == exchange.length:
            # The parser never saw the body's rest; a new one reads the next request.
            self._direct = None
            self._parser = httptools.HttpRequestParser(self)
            self.on_message_complete()

    def _parse(self, data: memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Offers of another protocol (h2c, WebSocket) are not taken; HTTP/1.1 goes on (RFC 9110 §7.8).
                self._parser = httptools.HttpRequestParser(self)
                if self._incoming is not None:
                    self._lead_to_body(self._incoming)
                data = data[upgrade.args[0] :]
                if data:
                    continue
            except httptools.HttpParserError as error:
                cause = error.__context__ if isinstance(error.__context__, AirserveError) else None
                self._refuse(cause or InvalidInputError(f"this is not HTTP/1.1: {error}"))
                return
            break
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLargeError(f"request line and headers are larger than {MAX_HEAD_BYTES} bytes"))

    def _lead_to_body(self, exchange: _Exchange) -> None:
        """Bring a new parser to where the last one left: it takes a body for the other protocol's."""
        framing = b"transfer-encoding: chunked" if exchange.length is None else b"content-length: %d" % exchange.length
        self._leading = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._leading = False

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._leading:
            return
        self._incoming = _Exchange(self)
        self._in_head = True
        self._head_bytes = 0
        if self._current is None:
            self.deadline = self._loop.time() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        if not self._leading:
            self._reading.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: who may not say it in the head may not say it after
        headers = self._reading.headers
        name = name.lower()
        if name == b"host" and name in headers:
            raise InvalidInputError("a request has one Host header")
        headers[name] = value.rstrip(b" \t")

    def on_headers_complete(self) -> None:
        if self._leading:
            return
        exchange = self._reading
        self._in_head = False
        exchange.started_ns = time.monotonic_ns()
        exchange.method = self._parser.get_method().decode("latin-1")
        exchange.version = self._parser.get_http_version()
        exchange.keep_alive = self._parser.should_keep_alive()
        headers = exchange.headers
        if b"transfer-encoding" not in headers:
            exchange.length = int(headers.get(b"content-length", b"0"))
        if exchange.version == "1.1" and b"host" not in headers:
            raise InvalidInputError("a request of HTTP/1.1 has a Host header (RFC 9112 §3.2)")
        if exchange.path[:1] != b"/":
            exchange.path = _origin_form(exchange.path)
        if self._current is None:
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self._transport.pause_reading()

    def on_body(self, piece: bytes) -> None:
        self._reading.add(piece)
        if self._current is self._incoming:
            self.deadline = self._loop.time() + SILENT_SECONDS

    def on_message_complete(self) -> None:
        exchange = self._reading
        if exchange.length != exchange.filled and self._parser.should_upgrade():
            return
        exchange.finish()
        if self._current is self._incoming:
            self.deadline = _FOREVER
        self._incoming = None

    @property
    def _reading(self) -> _Exchange:
        assert self._incoming is not None  # noqa: S101
        return self._incoming

    # The service's side.

    def want_body(self, exchange: _Exchange) -> asyncio.Future[None]:
        """A future that is done when the body is whole."""
        if exchange.headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if exchange.length is not None:
            # Not zeroed, and no memory until bytes come: a length is only a claim.
            exchange.buffer = np.empty(exchange.length, np.uint8).data.cast("B")
            received, exchange.body, exchange.filled = exchange.body, [], 0
            for piece in received:
                exchange.add(piece)
            self._direct = exchange
        return self._loop.create_future()

    def _start(self, exchange: _Exchange) -> None:
        self._current = exchange
        self.deadline = self._loop.time() + SILENT_SECONDS
        self._task = self._loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: _Exchange) -> None:
        path = exchange.path.decode("latin-1")
        request = Request(exchange.method, path, exchange.headers, exchange.read, exchange.started_ns)
        response = await self._server.handle(request)
        if response.stream is not None:
            await self._respond_in_pieces(exchange, response, response.stream)
            return
        self._task = None
        if not self._closing:
            self._respond(exchange, response)

    async def _respond_in_pieces(self, exchange: _Exchange, response: Encoded, stream: Stream) -> None:
        """Send a body of unknown length as it comes: chunked (RFC 9112 §7.1), to HTTP/1.0 until the end of connection.

        This task goes on until the last piece, so that a client that goes away cancels it, and the stream.
        """
        chunked = exchange.version != "1.0"
        keep_alive = exchange.keep_alive and exchange.complete and chunked
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
        if not exchange.complete:
            # What is left of the request cannot be refused any more: there is no place for it in this answer.
            self._transport.pause_reading()
        async with aclosing(stream):
            self._write_head(response, exchange, framing, keep_alive=keep_alive)
            if exchange.method != "HEAD":
                try:
                    await self._pass_on(stream, chunked=chunked)
                except Exception:
                    log.exception("a stream failed", path=exchange.path[:200])
                    self.abort()
                    return
        self._task = None
        self._finish(exchange, keep_alive=keep_alive)

    async def _pass_on(self, stream: Stream, *, chunked: bool) -> None:
        async for piece in stream:
            if self._full:
                self._drained = self._loop.create_future()
                await self._drained
            if piece:
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    def _respond(self, exchange: _Exchange, response: Encoded) -> None:
        keep_alive = exchange.keep_alive and exchange.complete
        self._write(response, exchange, keep_alive=keep_alive)
        self._finish(exchange, keep_alive=keep_alive)

    def _finish(self, exchange: _Exchange, *, keep_alive: bool) -> None:
        """The answer has been written; go on with the next request, or hang up."""
        self._current = None
        if not keep_alive:
            self._close(linger=not exchange.complete)
        elif not self._full:
            self._next()

    def _next(self) -> None:
        """Go on with what has come already, or wait for more."""
        if not self._waiting:
            if not self._closing:
                self.deadline = self._loop.time() + (HEAD_SECONDS if self._in_head else KEEP_ALIVE_SECONDS)
            return
        waiting = self._waiting.popleft()
        if isinstance(waiting, AirserveError):
            self._hang_up(waiting)
            return
        self._start(waiting)
        if not self._waiting:
            self._transport.resume_reading()

    def _write(self, response: Encoded, exchange: _Exchange | None, *, keep_alive: bool) -> None:
        chunks = response.chunks if exchange is None or exchange.method != "HEAD" else []
        framing = b"content-length: %d\r\n" % response.length
        if len(chunks) == 1 and len(chunks[0]) < _JOIN_BELOW:
            self._write_head(response, exchange, framing, chunks[0], keep_alive=keep_alive)
            return
        self._write_head(response, exchange, framing, keep_alive=keep_alive)
        for chunk in chunks:
            self._transport.write(chunk)

    def _write_head(
        self,
        response: Encoded,
        exchange: _Exchange | None,
        framing: bytes,
        body: bytes | memoryview = b"",
        *,
        keep_alive: bool,
    ) -> None:
        """Status and headers in one write, with a `body` that is small enough to be copied."""
        status = _STATUS_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status
        pieces: list[bytes | memoryview] = [status, *[b"%b: %b\r\n" % header for header in response.headers]]
        pieces += (framing, self._server.common_headers)
        if not keep_alive:
            pieces.append(b"connection: close\r\n")
        elif exchange is not None and exchange.version == "1.0":
            pieces.append(b"connection: keep-alive\r\n")
        pieces += (b"\r\n", body)
        self._transport.write(b"".join(pieces))

    def _refuse(self, error: AirserveError) -> None:
        """Answer what cannot be read as a request, after the answers that come before it, and hang up."""
        self._broken = True
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming in self._waiting:
            self._waiting.remove(incoming)
        if incoming is not None and incoming is self._current:
            assert self._task is not None  # noqa: S101
            self._task.cancel()
            self._hang_up(error)
        elif self._current is None:
            self._hang_up(error)
        else:
            self._waiting.append(error)

    def _hang_up(self, error: AirserveError) -> None:
        self._current = None
        self._write(render_error(error), None, keep_alive=False)
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        """Hang up. A peer that still sends would lose the answer to a reset, so it is listened to a little longer
        (RFC 9112 §9.6)."""
        self._closing = True
        self._direct = None
        self._waiting.clear()
        if not linger:
            self._transport.close()
            return
        self._transport.resume_reading()
        self.deadline = self._loop.time() + _LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def expire(self) -> None:
        """The peer was waited for long enough."""
        if self._in_head and self._current is None and not self._closing:
            self._refuse(RequestTimeoutError("the request's headers did not come in time"))
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self.deadline = _FOREVER
        self._transport.abort()


def _origin_form(target: bytes) -> bytes:
    """The path of a request target in absolute form, as proxies send it (RFC 9112 §3.2.2); others stay."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    return b"/" + rest.partition(b"/")[2]
