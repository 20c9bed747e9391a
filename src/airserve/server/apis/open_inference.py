"""The routes of the Open Inference Protocol v2. Metadata may be read by tenants and operators, health by everybody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from airserve import __version__
from airserve.core.errors import AirserveError, OverloadedError
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import Operation, Route
from airserve.server.calls import Calls
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment

Handler = Callable[[Request, Route], Awaitable[Encoded]]


class OpenInferenceApi:
    """`/v2`."""

    prefix = "/v2"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._calls = Calls(runtime)
        self._handlers: dict[Operation, Handler] = {
            Operation.INFER: self._infer,
            Operation.SERVER_LIVE: self._server_live,
            Operation.SERVER_READY: self._server_ready,
            Operation.SERVER_METADATA: self._server_metadata,
            Operation.MODEL_METADATA: self._model_metadata,
            Operation.MODEL_READY: self._model_ready,
        }

    async def handle(self, request: Request) -> Encoded:
        """Answer one request."""
        # HEAD is GET whose body the front leaves out (RFC 9110 §9.3.2).
        route = oip.match("GET" if request.method == "HEAD" else request.method, request.path)
        return await self._handlers[route.operation](request, route)

    def render_error(self, error: AirserveError) -> Encoded:
        """`{"error": "…"}`."""
        return oip.render_error(error)

    async def _infer(self, request: Request, route: Route) -> Encoded:
        calls = self._calls
        principal = calls.admit(request, route.model)
        with calls.in_flight():
            body = await calls.body(request)
            deployment = self._runtime.service.resolve(route.model or "", route.version)
            decoded = oip.decode_infer(
                deployment.spec.model, deployment.signature, request.headers, body, max_bytes=calls.max_body_bytes
            )
            reply, headers = await calls.infer(
                request, principal, deployment, body, decoded.inputs, decoded.rows, decoded.timeout_us
            )
            return oip.encode_infer(decoded, reply, headers)

    async def _server_live(self, request: Request, route: Route) -> Encoded:
        return oip.server_live()

    async def _server_ready(self, request: Request, route: Route) -> Encoded:
        if not self._runtime.ready:
            raise OverloadedError(self._why_not_ready(), retry_after=1.0)
        return oip.server_ready()

    def _why_not_ready(self) -> str:
        if self._runtime.draining:
            return "Server exiting"
        broken = ", ".join(f"{model} version {version}" for model, version in sorted(self._runtime.service.failed))
        return f"Server not ready: {broken} failed to load"

    async def _server_metadata(self, request: Request, route: Route) -> Encoded:
        self._any_key(request)
        return oip.server_metadata(self._settings.server_name, __version__)

    async def _model_metadata(self, request: Request, route: Route) -> Encoded:
        deployment = self._visible(request, route)
        name = deployment.spec.model
        versions = [str(version) for version in self._runtime.service.versions(name)]
        return oip.model_metadata(name, versions, deployment.signature, deployment.spec.manifest.engine)

    async def _model_ready(self, request: Request, route: Route) -> Encoded:
        deployment = self._visible(request, route)
        if self._runtime.draining:
            raise OverloadedError("Server exiting", retry_after=1.0)
        return oip.model_ready(deployment.spec.model)

    def _visible(self, request: Request, route: Route) -> Deployment:
        self._any_key(request, route.model)
        return self._runtime.service.resolve(route.model or "", route.version)

    def _any_key(self, request: Request, model: str | None = None) -> None:
        """Let operators, and tenants whose key opens `model`, read what is served."""
        self._runtime.gate.reader(wire.bearer_key(request.headers), model)
