"""All routes of the service: finds the API that a path belongs to, and answers always. No logic of any API is here."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog

from airserve.core.errors import AirserveError
from airserve.protocols import headers as wire
from airserve.protocols.encoded import Encoded
from airserve.protocols.target import check_target
from airserve.server.apis.base import Api
from airserve.server.apis.console import ConsoleApi
from airserve.server.apis.control import ControlApi
from airserve.server.apis.docs import DocsApi, OpenApiApi
from airserve.server.apis.open_inference import OpenInferenceApi
from airserve.server.apis.openai import OpenAiApi
from airserve.server.apis.operations import DrainApi, MetricsApi
from airserve.server.apis.plain import PlainApi
from airserve.server.apis.protos import ProtosApi
from airserve.server.apis.sealed import SealedApi
from airserve.server.calls import new_id
from airserve.server.http import Request
from airserve.server.limit_notes import headers_for
from airserve.server.runtime import Runtime

log = structlog.get_logger("airserve.server")


class Endpoints:
    """Answers requests from one runtime.

    Every route is denied without a key, except health, protos, docs and the files of the console.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._guesses = runtime.guesses
        self._gate = runtime.gate
        self._admissions = runtime.admissions
        self._idempotency = runtime.idempotency
        # What is under no prefix is told so in the words of the first.
        self._apis: tuple[Api, ...] = (
            OpenInferenceApi(runtime),
            OpenAiApi(runtime),
            PlainApi(runtime),
            SealedApi(runtime),
            ProtosApi(),
            DocsApi(),
            OpenApiApi(runtime),
            MetricsApi(runtime),
            DrainApi(runtime),
            ControlApi(runtime),
            ConsoleApi(),
        )

    async def handle(self, request: Request) -> Encoded:
        """The response to `request`, always one; an unexpected failure is logged and answered with its id."""
        api = self._api_of(request.path)
        try:
            try:
                check_target(request.path)
                encoded = await self._answer(api, request)
            except AirserveError as error:
                encoded = api.render_error(error)
            if (standing := request.notes.standing) is not None:
                told = headers_for(self._admissions, standing, openai=isinstance(api, OpenAiApi))
                encoded = Encoded(encoded.status, [*encoded.headers, *told], encoded.chunks, encoded.stream)
            if encoded.status == 401:
                too_many = self._guesses.count(request.client, time.monotonic_ns())
                return encoded if too_many is None else api.render_error(too_many)
            return encoded
        except asyncio.CancelledError:
            raise
        except Exception:
            incident = new_id()
            log.exception("unexpected failure", incident=incident, method=request.method, path=request.path[:200])
            return api.render_error(AirserveError(f"an unexpected failure; report it with the id {incident}"))

    async def _answer(self, api: Api, request: Request) -> Encoded:
        """What the API answers; a request with an Idempotency-Key may have been answered before."""
        if request.method == "POST" and b"idempotency-key" in request.headers and not isinstance(api, DrainApi):
            # Who calls without a good key is told so before any of the body is read.
            principal = self._gate.known(wire.bearer_key(request.headers), request.client, request.certificate)
            return await self._idempotency.answer(request, principal, partial(self._render, api))
        return await api.handle(request)

    @staticmethod
    async def _render(api: Api, request: Request) -> Encoded:
        try:
            return await api.handle(request)
        except AirserveError as error:
            return api.render_error(error)

    def refuse(self, path: str, error: AirserveError) -> Encoded:
        """The refusal of what never became a request, in the words of the API that `path` belongs to."""
        return self._api_of(path).render_error(error)

    def _api_of(self, path: str) -> Api:
        for api in self._apis:
            if path.startswith(api.prefix) and path[len(api.prefix) : len(api.prefix) + 1] in ("", "/", "?"):
                return api
        return self._apis[0]
