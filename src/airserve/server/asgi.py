"""The ASGI adapter: carries bytes between a front and the endpoints, and holds no logic of either.

ASGI 3.0, HTTP and lifespan sub-specifications.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airserve.server.body import read_body
from airserve.server.disconnect import Disconnects
from airserve.server.endpoints import Endpoints
from airserve.server.http import Request
from airserve.server.runtime import Runtime

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiApp:
    """The whole service as one ASGI application; the runtime starts and stops with the lifespan."""

    def __init__(self, make_runtime: Callable[[], Runtime]) -> None:
        self._make_runtime = make_runtime
        self._runtime: Runtime | None = None
        self._endpoints: Endpoints | None = None
        self._disconnects = Disconnects()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one lifespan or one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise NotImplementedError(f"ASGI scope '{scope['type']}' is not served")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # A front with several event loops starts the application once on each; the runtime is one.
        runtime = self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(runtime.close)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> Runtime:
        if self._runtime is None:
            self._runtime = self._make_runtime()
            self._endpoints = Endpoints(self._runtime)
        return self._runtime

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoints = self._endpoints
        assert endpoints is not None, "the front sent a request before the lifespan had started"  # noqa: S101
        headers = dict(scope["headers"])
        with self._disconnects.watch(receive) as watched:

            async def read(limit: int) -> bytes:
                body = await read_body(receive, headers, limit)
                watched.body_read = True
                return body

            raw_path = scope.get("raw_path")
            path = raw_path.decode("latin-1") if raw_path else scope["path"]
            request = Request(scope["method"], path, headers, read, time.monotonic_ns())
            response = await endpoints.handle(request)
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        last = len(response.chunks) - 1
        for index, chunk in enumerate(response.chunks):
            body = chunk if isinstance(chunk, bytes) else bytes(chunk)
            await send({"type": "http.response.body", "body": body, "more_body": index < last})
