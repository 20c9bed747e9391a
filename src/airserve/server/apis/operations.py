"""The routes of those who run the service: metrics for operators, and the drain for our own supervisor."""

from __future__ import annotations

import asyncio
import hmac
import os

from airserve.core.errors import AirserveError, NotFoundError
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.server.http import Request
from airserve.server.metrics import MetricsPage
from airserve.server.runtime import Runtime
from airserve.server.sockets import DRAIN_TOKEN_VARIABLE

_JSON = (b"content-type", b"application/json")


class MetricsApi:
    """`/metrics`, for Prometheus with an operator's key."""

    prefix = "/metrics"

    def __init__(self, runtime: Runtime) -> None:
        self._gate = runtime.gate
        self._page = MetricsPage(runtime)

    async def handle(self, request: Request) -> Encoded:
        """The page."""
        self._gate.operator(wire.bearer_key(request.headers), request.client, request.certificate)
        # Drift is compared for it: a millisecond for each model.
        page = await asyncio.to_thread(self._page.render)
        return Encoded(200, [(b"content-type", self._page.content_type)], [page])

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)


class DrainApi:
    """`/control/drain`: only the supervisor knows the token, made anew for each run; others see no such route."""

    prefix = "/control/drain"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._token = os.environ.get(DRAIN_TOKEN_VARIABLE, "").encode()

    async def handle(self, request: Request) -> Encoded:
        """Refuse new calls, wait for the accepted ones, and say whether all finished."""
        token = wire.bearer_key(request.headers)
        if not self._token or not hmac.compare_digest(token.encode(), self._token):
            raise NotFoundError("Not Found")
        finished = await self._runtime.drain()
        return Encoded(200, [_JSON], [b'{"drained":true}' if finished else b'{"drained":false}'])

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)
