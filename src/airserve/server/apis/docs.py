"""`/docs` and `/openapi.json`, for everybody; with a key, the document tells of the models that it opens."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from airserve import __version__
from airserve.core.errors import AirserveError, NotFoundError, OverloadedError
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols import openapi
from airserve.protocols.encoded import Encoded
from airserve.protocols.openapi import ModelSchema
from airserve.protocols.wrong_method import WrongMethodError
from airserve.server.http import Request
from airserve.server.runtime import Runtime


class DocsApi:
    """The page to read."""

    prefix = "/docs"

    async def handle(self, request: Request) -> Encoded:
        """The page."""
        _check(request, self.prefix)
        return openapi.page()

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)


class OpenApiApi:
    """The document for programs."""

    prefix = "/openapi.json"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def handle(self, request: Request) -> Encoded:
        """The document, of all models' routes, and with a key of each model's own."""
        _check(request, self.prefix)
        key = wire.bearer_key(request.headers)
        document = await asyncio.to_thread(
            openapi.document,
            self._runtime.settings.server_name,
            __version__,
            self._models(key, request) if key else (),
        )
        return oip.json_reply(document)

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)

    def _models(self, key: str, request: Request) -> list[ModelSchema]:
        service = self._runtime.service
        models = []
        for name in self._runtime.gate.opened(key, service.models(), request.client, request.certificate):
            # What is published under other aliases alone is not at `/v2/models/NAME`.
            with suppress(NotFoundError, OverloadedError):
                served = service.resolve(name)
                models.append(ModelSchema(name, served.signature, generates(served.spec.manifest.engine)))
        return models


def _check(request: Request, path: str) -> None:
    if request.path.partition("?")[0].rstrip("/") != path:
        raise NotFoundError("Not Found")
    if request.method not in ("GET", "HEAD"):
        raise WrongMethodError("GET")
