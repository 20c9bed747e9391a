"""`grpc.health.v1.Health`, for probes and load balancers. The server's own health is open to everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from airserve.core.errors import NotFoundError
from airserve.protocols import headers as wire
from airserve.protocols.protos.health_connect import Health
from airserve.protocols.protos.health_pb import HealthCheckRequest, HealthCheckResponse
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.apis.grpc.refusals import Context
from airserve.server.runtime import Runtime

_Status = HealthCheckResponse.ServingStatus
_THE_SERVER = {"", "inference.GRPCInferenceService"}
_LOOK_EVERY_S = 0.5


class HealthService(Health):
    """A service is the server, by an empty name or that of its inference service, or a model by its own."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def check(self, request: HealthCheckRequest, ctx: Context) -> HealthCheckResponse:
        """The status now; a service that is not known is an error."""
        self._admit(request.service)
        status = self._status(request.service)
        if status is _Status.SERVICE_UNKNOWN:
            raise NotFoundError(f"no service and no model '{request.service[:80]}' is known here")
        return HealthCheckResponse(status=status)

    async def watch(self, request: HealthCheckRequest, ctx: Context) -> AsyncIterator[HealthCheckResponse]:
        """The status now and whenever it changes, until the server drains."""
        self._admit(request.service)
        told: _Status | None = None
        while True:
            status = self._status(request.service)
            if status is not told:
                yield HealthCheckResponse(status=status)
                told = status
            if self._runtime.draining:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _admit(self, service: str) -> None:
        if service not in _THE_SERVER:
            self._runtime.gate.reader(
                wire.bearer_key(arrival().headers), service, arrival().client, arrival().certificate
            )

    def _status(self, service: str) -> _Status:
        runtime = self._runtime
        if service in _THE_SERVER:
            return _Status.SERVING if runtime.ready else _Status.NOT_SERVING
        try:
            runtime.service.resolve(service)
        except NotFoundError:
            broken = any(model == service for model, _ in runtime.service.failed)
            return _Status.NOT_SERVING if broken else _Status.SERVICE_UNKNOWN
        return _Status.NOT_SERVING if runtime.draining else _Status.SERVING
