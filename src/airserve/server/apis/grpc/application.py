"""All services as one ASGI application: gRPC, gRPC-Web and Connect over HTTP/2 and HTTP/3."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from connectrpc.server import ConnectASGIApplication

from airserve.protocols.protos import health_pb, open_inference_pb, reflection_pb
from airserve.protocols.protos.health_connect import HealthASGIApplication
from airserve.protocols.protos.open_inference_connect import GRPCInferenceServiceASGIApplication
from airserve.protocols.protos.reflection_connect import ServerReflectionASGIApplication
from airserve.server.apis.grpc.admission import Admission
from airserve.server.apis.grpc.arrival import arrive
from airserve.server.apis.grpc.health import HealthService
from airserve.server.apis.grpc.inference import InferenceService
from airserve.server.apis.grpc.reflection import ReflectionService
from airserve.server.apis.grpc.refusals import Refusals
from airserve.server.disconnect import Disconnects
from airserve.server.http import client_of, fields_of
from airserve.server.runtime import Runtime
from airserve.server.uncancelled import uncancelled

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SMALL = 64 << 10
"""The most bytes of a message of the services that carry no tensors."""

# The older reflection service is the same in all but its name.
_ALIASES = {
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    )
}


class GrpcApplication:
    """Serves what is below the names of the services."""

    def __init__(self, runtime: Runtime) -> None:
        limit, refusals = runtime.settings.max_body_bytes, Refusals()
        files = [module.desc() for module in (open_inference_pb, health_pb, reflection_pb)]
        services: list[ConnectASGIApplication[Any]] = [
            GRPCInferenceServiceASGIApplication(
                InferenceService(runtime),
                interceptors=[Admission(runtime.gate, runtime.guesses), refusals],
                read_max_bytes=limit,
            ),
            HealthASGIApplication(HealthService(runtime), interceptors=[refusals], read_max_bytes=_SMALL),
            ServerReflectionASGIApplication(ReflectionService(files), interceptors=[refusals], read_max_bytes=_SMALL),
        ]
        self._services = {service.path: service for service in services}
        self._disconnects = Disconnects()

    def serves(self, path: str) -> bool:
        """Whether `path` is a service's."""
        return _service_of(_ALIASES.get(path, path)) in self._services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request: a call, or a stream of messages."""
        given: str = scope["path"]
        path = _ALIASES.get(given, given)
        arrive(path, fields_of(scope["headers"]), client_of(scope))
        with self._disconnects.watch(receive) as watched:

            async def read() -> Message:
                if watched.body_read:
                    # The library asks for the disconnect now; that is the watch's, which cancels this task.
                    await asyncio.Event().wait()
                # A stream may end while its reader waits for more.
                message = await uncancelled(receive())
                watched.body_read = not message.get("more_body", False)
                if message["type"] == "http.disconnect":
                    watched.cancel()
                return message

            # Metadata is ASCII (gRPC over HTTP/2, "Custom-Metadata"); the library fails on bytes that are no text.
            headers = [header for header in scope["headers"] if header[1].isascii()]
            await self._services[_service_of(path)]({**scope, "path": path, "headers": headers}, read, send)


def _service_of(path: str) -> str:
    return path.rpartition("/")[0]
