"""The model repository extension of the Open Inference Protocol: an operator sees, loads and unloads models."""

from __future__ import annotations

import asyncio

from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import Route
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.version import State


class RepositoryRoutes:
    """`/v2/repository/…`. Nothing here is a tenant's."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def index(self, request: Request, route: Route) -> Encoded:
        """Every version that an alias points at, and its state."""
        only_ready = oip.decode_index(await self._body(request))
        versions = self._runtime.service.all_versions()
        return oip.json_reply(
            [oip.index_entry(version) for version in versions if not only_ready or version.state is State.READY]
        )

    async def load(self, request: Request, route: Route) -> Encoded:
        """Load a model, or load it again; the answer comes when it is ready."""
        oip.decode_change(await self._body(request))
        model = route.model or ""
        await asyncio.to_thread(self._runtime.load_model, model)
        return oip.json_reply({"name": model, "load": True})

    async def unload(self, request: Request, route: Route) -> Encoded:
        """Take a model out of memory; the answer comes when its accepted calls have finished."""
        oip.decode_change(await self._body(request))
        model = route.model or ""
        await asyncio.to_thread(self._runtime.service.unload, model)
        return oip.json_reply({"name": model, "unload": True})

    async def _body(self, request: Request) -> bytes | memoryview:
        self._runtime.gate.operator(wire.bearer_key(request.headers), request.client, request.certificate)
        return await request.read(self._runtime.settings.max_body_bytes)
