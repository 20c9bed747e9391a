"""HTTP/1.1 on asyncio: bytes of a connection <-> Request and Encoded (RFC 9110, RFC 9112).

`httptools` (llhttp, the parser of Node.js, in its strict mode) reads heads, chunked bodies and small ones. A body
whose length is known and that has not come with its head is received straight into one buffer, so that a large
tensor is never copied. One task answers each request; it is cancelled when the client goes.
"""

from __future__ import annotations

import asyncio
import sys
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

from airserve.accounts.client_certificate import ClientCertificate, certificate_of
from airserve.core.errors import (
    AirserveError,
    HeadTooLargeError,
    InvalidInputError,
    RateLimitedError,
    RequestTimeoutError,
    TargetTooLongError,
)
from airserve.protocols.encoded import Encoded, Stream
from airserve.protocols.open_inference import render_error
from airserve.protocols.target import MAX_TARGET
from airserve.server.addresses import Addresses
from airserve.server.body import pace
from airserve.server.http import Request
from airserve.server.http1_exchange import Exchange
from airserve.server.proxy_protocol import read_head

log = structlog.get_logger("airserve.server")

Handle = Callable[[Request], Awaitable[Encoded]]
Refuse = Callable[[str, AirserveError], Encoded]

MAX_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 10.0
WRITE_SECONDS = 60.0
"""How long a client may leave an answer unread that no longer fits into the buffers between."""
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

    `headers` go with every reply. `refuse` renders the refusal of what never became a request, by the path as far as
    it is known. `most_of_one_address` bounds the connections of each client address but the machine's own.
    """

    def __init__(
        self,
        handle: Handle,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        refuse: Refuse = lambda path, error: render_error(error),
        most_of_one_address: int = sys.maxsize,
    ) -> None:
        self.handle = handle
        self.refuse = refuse
        self.addresses = Addresses(most_of_one_address)
        self.loop = asyncio.get_running_loop()
        self.connections: set[_Connection] = set()
        # One for all: what is received into it is parsed, or copied, before the loop reads another connection.
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._headers = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._common = (0, b"")
        self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        self._listeners: list[asyncio.Server] = []

    async def listen_unix(self, path: Path) -> None:
        """Accept connections that the front passes on over a Unix domain socket, each behind a PROXY protocol head."""
        listener = await self.loop.create_unix_server(self.connection, str(path), backlog=_BACKLOG)
        self._listeners.append(listener)

    def connection(self) -> asyncio.BufferedProtocol:
        """What answers the bytes of one more connection."""
        return _Connection(self)

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


class _Connection(asyncio.BufferedProtocol):
    """One connection. Requests are answered one after another, in the order in which they came (RFC 9112 §9.3).

    `deadline` is when the connection has waited too long for its peer, on the loop's clock.
    """

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self._loop = server.loop
        self.deadline = self._loop.time() + KEEP_ALIVE_SECONDS
        self._parser = httptools.HttpRequestParser(self)
        # The client's address, None until the front has told it; what came of its head so far.
        self._client: str | None = None
        self._certificate: ClientCertificate | None = None
        self._told = b""
        self._incoming: Exchange | None = None
        self._in_head = False
        self._head_bytes = 0
        # While a parser reads a head that we made ourselves.
        self._leading = False
        self._waiting: deque[Exchange | AirserveError] = deque()
        self._current: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._direct: Exchange | None = None
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
        if self._client:
            self._server.addresses.leave(self._client)
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """Who closes its half has gone: nothing tells it from one that will never read the answer."""
        return False

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()
        self.deadline = self._loop.time() + WRITE_SECONDS

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
                data = self._server.scratch[:nbytes]
                if self._client is None:
                    self._introduce(data)
                else:
                    self._parse(data)
            return
        exchange.filled += nbytes
        self.deadline = exchange.began + pace(exchange.filled)
        if exchange.filled == exchange.length:
            # The parser never saw the body's rest; a new one reads the next request.
            self._direct = None
            self._parser = httptools.HttpRequestParser(self)
            self.on_message_complete()

    def _introduce(self, data: memoryview) -> None:
        """The front says who is there, before the first byte of theirs."""
        self._told += data
        try:
            head = read_head(self._told)
        except InvalidInputError as error:
            self._refuse(error)
            return
        if head is not None:
            self._client = head.client
            self._certificate = certificate_of(head.certificate)
            first, self._told = memoryview(self._told)[head.length :], b""
            if not self._server.addresses.enter(self._client):
                self._client = ""
                self._refuse(RateLimitedError("too many connections from your address; close some", retry_after=1.0))
            elif first:
                self._parse(first)

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
                self._refuse(_head_too_large(self._reading.path))

    def _lead_to_body(self, exchange: Exchange) -> None:
        """Bring a new parser to where the last one left: it takes a body for the other protocol's."""
        framing = b"transfer-encoding: chunked" if exchange.length is None else b"content-length: %d" % exchange.length
        self._leading = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._leading = False

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._leading:
            return
        self._incoming = Exchange(self)
        self._in_head = True
        self._head_bytes = 0
        if self._current is None:
            self.deadline = self._loop.time() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        if not self._leading:
            self._reading.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._reading.add_header(name, value)
        # Else a trailer: who may not say it in the head may not say it after.

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

    def on_chunk_header(self) -> None:
        self._reading.begin_chunk()

    def on_body(self, piece: bytes) -> None:
        exchange = self._reading
        exchange.add(piece)
        if exchange is self._current:
            self.deadline = exchange.began + pace(exchange.filled)

    def on_message_complete(self) -> None:
        exchange = self._reading
        if exchange.length != exchange.filled and self._parser.should_upgrade():
            return
        exchange.finish()
        if self._current is self._incoming:
            self.deadline = _FOREVER
        self._incoming = None

    @property
    def _reading(self) -> Exchange:
        assert self._incoming is not None  # noqa: S101
        return self._incoming

    # The service's side.

    def want_body(self, exchange: Exchange) -> asyncio.Future[None]:
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

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        exchange.began = self._loop.time()
        self.deadline = _FOREVER if exchange.complete else exchange.began + pace(exchange.filled)
        self._task = self._loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path.decode("latin-1")
        request = Request(
            exchange.method,
            path,
            exchange.headers,
            exchange.read,
            exchange.started_ns,
            self._client or "",
            self._certificate,
        )
        response = await self._server.handle(request)
        if response.stream is not None:
            await self._respond_in_pieces(exchange, response, response.stream)
            return
        self._task = None
        if not self._closing:
            self._respond(exchange, response)

    async def _respond_in_pieces(self, exchange: Exchange, response: Encoded, stream: Stream) -> None:
        """Send a body of unknown length as it comes: chunked (RFC 9112 §7.1), to HTTP/1.0 until the end of connection.

        This task goes on until the last piece, so that a client that goes away cancels it, and the stream.
        """
        chunked = exchange.version != "1.0"
        keep_alive = exchange.keep_alive and exchange.complete and chunked
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
        if not exchange.complete:
            # What is left of the request cannot be refused any more: there is no place for it in this answer.
            self._transport.pause_reading()
        exchange.answering = True
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

    def _respond(self, exchange: Exchange, response: Encoded) -> None:
        keep_alive = exchange.keep_alive and exchange.complete
        self._write(response, exchange, keep_alive=keep_alive)
        self._finish(exchange, keep_alive=keep_alive)

    def _finish(self, exchange: Exchange, *, keep_alive: bool) -> None:
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

    def _write(self, response: Encoded, exchange: Exchange | None, *, keep_alive: bool) -> None:
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
        exchange: Exchange | None,
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
            self._hang_up(error, incoming)
        elif self._current is None:
            self._hang_up(error, incoming)
        else:
            self._waiting.append(error)

    def _hang_up(self, error: AirserveError, exchange: Exchange | None = None) -> None:
        self._current = None
        path = "" if exchange is None else exchange.path.decode("latin-1")
        self._write(self._server.refuse(path, error), None, keep_alive=False)
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
        late = self._incoming
        if self._in_head and self._current is None and not self._closing:
            self._refuse(RequestTimeoutError("the request's headers did not come in time"))
        elif late is not None and late is self._current and not (late.answering or self._full):
            self._refuse(RequestTimeoutError("the request's body did not come in time; send it faster, or less"))
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self.deadline = _FOREVER
        self._transport.abort()


def _head_too_large(path: bytes) -> AirserveError:
    if len(path) > MAX_TARGET:
        return TargetTooLongError(f"the path and query are longer than {MAX_TARGET} characters; send data in the body")
    return HeadTooLargeError(f"request line and headers are larger than {MAX_HEAD_BYTES} bytes; send fewer or less")


def _origin_form(target: bytes) -> bytes:
    """The path of a request target in absolute form, as proxies send it (RFC 9112 §3.2.2); others stay."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    return b"/" + rest.partition(b"/")[2]
