"""Stands between the endpoints and the FastAPI application, which is made when the first request needs it."""

from __future__ import annotations

import asyncio
import threading

from airserve.core.errors import AirserveError
from airserve.protocols import problem_details
from airserve.protocols.encoded import Encoded
from airserve.server.apis.mounted import Application, answer
from airserve.server.http import Request
from airserve.server.runtime import Runtime

_MAX_BODY_BYTES = 1 << 20


class ControlApi:
    """`/control`."""

    prefix = "/control"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._making = threading.Lock()
        self._application: Application | None = None

    async def handle(self, request: Request) -> Encoded:
        """Answer one request. Its handlers run on threads: they ask the database."""
        application = self._application
        if application is None:
            application = await asyncio.to_thread(self._made)
        return await answer(application, request, _MAX_BODY_BYTES)

    def render_error(self, error: AirserveError) -> Encoded:
        """Problem details."""
        return problem_details.render_error(error)

    def _made(self) -> Application:
        # FastAPI takes half a second to import, and most processes are never asked.
        from airserve.server.apis.control.application import control_application

        with self._making:
            made = self._application or control_application(self._runtime)
            self._application = made
        return made
