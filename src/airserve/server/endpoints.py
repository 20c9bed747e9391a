"""All routes of the service: finds the API that a path belongs to, and answers always. No logic of any API is here."""

from __future__ import annotations

import asyncio

import structlog

from airserve.core.errors import AirserveError
from airserve.protocols.encoded import Encoded
from airserve.server.apis.base import Api
from airserve.server.apis.docs import DocsApi, OpenApiApi
from airserve.server.apis.open_inference import OpenInferenceApi
from airserve.server.apis.openai import OpenAiApi
from airserve.server.apis.operations import DrainApi, MetricsApi
from airserve.server.apis.plain import PlainApi
from airserve.server.apis.protos import ProtosApi
from airserve.server.calls import new_id
from airserve.server.http import Request
from airserve.server.runtime import Runtime

log = structlog.get_logger("airserve.server")


class Endpoints:
    """Answers requests from one runtime. Every route is denied without a key, except health, protos and docs."""

    def __init__(self, runtime: Runtime) -> None:
        # What is under no prefix is told so in the words of the first.
        self._apis: tuple[Api, ...] = (
            OpenInferenceApi(runtime),
            OpenAiApi(runtime),
            PlainApi(runtime),
            ProtosApi(),
            DocsApi(),
            OpenApiApi(runtime),
            MetricsApi(runtime),
            DrainApi(runtime),
        )

    async def handle(self, request: Request) -> Encoded:
        """The response to `request`, always one; an unexpected failure is logged and answered with its id."""
        api = self._api_of(request.path)
        try:
            try:
                return await api.handle(request)
            except AirserveError as error:
                return api.render_error(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            incident = new_id()
            log.exception("unexpected failure", incident=incident, method=request.method, path=request.path[:200])
            return api.render_error(AirserveError(f"an unexpected failure; report it with the id {incident}"))

    def _api_of(self, path: str) -> Api:
        for api in self._apis:
            if path.startswith(api.prefix) and path[len(api.prefix) : len(api.prefix) + 1] in ("", "/", "?"):
                return api
        return self._apis[0]
