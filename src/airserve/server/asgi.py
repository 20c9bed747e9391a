"""The ASGI adapter: carries bytes between a front and the endpoints, and holds no logic of either.

ASGI 3.0, HTTP and lifespan sub-specifications.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from airserve.protocols.encoded import Encoded, Stream
from airserve.server.apis.grpc import GrpcApplication
from airserve.server.body import read_body
from airserve.server.disconnect import Disconnects
from airserve.server.endpoints import Endpoints
from airserve.server.http import Request, certificate_in, client_of, fields_of
from airserve.server.uncancelled import sending

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiApp:
    """The endpoints and the services of gRPC as one ASGI application. They start and stop with the lifespan."""

    def __init__(
        self, start: Callable[[], Awaitable[tuple[Endpoints, GrpcApplication]]], stop: Callable[[], Awaitable[None]]
    ) -> None:
        self._start = start
        self._stop = stop
        self._serving: tuple[Endpoints, GrpcApplication] | None = None
        self._disconnects = Disconnects()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one lifespan or one request."""
        if scope["type"] == "http":
            assert self._serving is not None, "the front sent a request before the lifespan had started"  # noqa: S101
            endpoints, grpc = self._serving
            send = sending(send)
            if grpc.serves(scope["path"]):
                await grpc(scope, receive, send)
            else:
                await self._http(endpoints, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise NotImplementedError(f"ASGI scope '{scope['type']}' is not served")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # pyvoy starts the application on each of its event loops, one after another; the endpoints are one.
        first = self._serving is None
        if first:
            self._serving = await self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if first:
            await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, endpoints: Endpoints, scope: Scope, receive: Receive, send: Send) -> None:
        headers = fields_of(scope["headers"])
        path = _target(scope)
        response: Encoded | None = None
        with self._disconnects.watch(receive) as watched:

            async def read(limit: int) -> bytes:
                body = await read_body(receive, headers, limit)
                watched.body_read = True
                return body

            request = Request(
                scope["method"], path, headers, read, time.monotonic_ns(), client_of(scope), certificate_in(headers)
            )
            response = await endpoints.handle(request)
            if response.stream is not None:
                # Still under watch: a client that goes cancels this task, and the stream with it.
                await _send_stream(request, response, response.stream, send)
                return
        if response is not None and not watched.gone:
            await _send(request, response, send)


def _target(scope: Scope) -> str:
    """Path and query as they came, percent-encoded."""
    raw_path, query = scope.get("raw_path"), scope.get("query_string")
    path: str = raw_path.decode("latin-1") if raw_path else scope["path"]
    return f"{path}?{query.decode('latin-1')}" if query else path


async def _send(request: Request, response: Encoded, send: Send) -> None:
    named = [*response.headers, (b"content-length", b"%d" % response.length)]
    await send({"type": "http.response.start", "status": response.status, "headers": named})
    chunks = response.chunks if request.method != "HEAD" else [b""]
    last = len(chunks) - 1
    for index, chunk in enumerate(chunks):
        body = chunk if isinstance(chunk, bytes) else bytes(chunk)
        await send({"type": "http.response.body", "body": body, "more_body": index < last})


async def _send_stream(request: Request, response: Encoded, stream: Stream, send: Send) -> None:
    async with aclosing(stream):
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        if request.method != "HEAD":
            async for piece in stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
