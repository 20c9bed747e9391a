"""The routes of the Open Inference Protocol v2. Metadata may be read by tenants and operators, health by everybody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from airserve import __version__
from airserve.core.errors import AirserveError, NotImplementedHereError, OverloadedError
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import Operation, Route
from airserve.protocols.sealed import is_sealed
from airserve.server.apis.generate import GenerateRoutes
from airserve.server.apis.places import PlacesRoutes
from airserve.server.apis.repository import RepositoryRoutes
from airserve.server.apis.sealed import infer_sealed
from airserve.server.calls import Calls
from airserve.server.coding import answered, opened
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.service import Served
from airserve.serving.version import Version

Handler = Callable[[Request, Route], Awaitable[Encoded]]


class OpenInferenceApi:
    """`/v2`."""

    prefix = "/v2"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._calls = Calls(runtime)
        generate, repository, places = GenerateRoutes(self._calls), RepositoryRoutes(runtime), PlacesRoutes(self._calls)
        self._handlers: dict[Operation, Handler] = {
            Operation.INFER: self._infer,
            Operation.SERVER_LIVE: self._server_live,
            Operation.SERVER_READY: self._server_ready,
            Operation.SERVER_METADATA: self._server_metadata,
            Operation.MODEL_METADATA: self._model_metadata,
            Operation.MODEL_READY: self._model_ready,
            Operation.MODEL_LIST: self._model_list,
            Operation.MODEL_CONFIG: self._model_config,
            Operation.MODEL_STATISTICS: self._model_statistics,
            Operation.ALL_STATISTICS: self._all_statistics,
            Operation.SHARED_MEMORY_STATUS: self._shared_memory_status,
            Operation.SHARED_MEMORY_UNREGISTER: self._shared_memory_unregister,
            Operation.GENERATE: generate.whole,
            Operation.GENERATE_STREAM: generate.stream,
            Operation.PLACES: places.places,
            Operation.DEVICE: places.device,
            Operation.REPOSITORY_INDEX: repository.index,
            Operation.MODEL_LOAD: repository.load,
            Operation.MODEL_UNLOAD: repository.unload,
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
        principal = calls.admit(request, "infer", route.model)
        with calls.in_flight():
            body = await calls.body(request)
            deployment = self._runtime.service.resolve(route.model or "", route.version, principal.tenant_id)
            if generates(deployment.spec.manifest.engine):
                raise NotImplementedHereError(
                    "HTTP end point doesn't support models with decoupled transaction policy; "
                    f"call /v2/models/{deployment.spec.model}/generate_stream"
                )
            if is_sealed(request.headers):
                return await infer_sealed(calls, request, principal, deployment, body)
            manifest = deployment.spec.manifest
            held = calls.held_inputs(principal)
            decoded = oip.decode_infer(
                deployment.spec.model,
                deployment.signature,
                request.headers,
                body,
                max_bytes=calls.max_body_bytes,
                codecs=manifest.codecs,
                held=held,
            )
            await held.settle()
            inputs = decoded.inputs
            if decoded.coded:
                inputs = await opened(inputs, decoded.coded, calls.frame_references(request, principal))
            reply, headers = await calls.infer(
                request, principal, deployment, body, inputs, decoded.rows, decoded.timeout_us, asked=decoded.asked
            )
            encode = partial(oip.encode_infer, decoded, reply, headers, labels=manifest.labels)
            return await answered(decoded.outputs, reply, encode) if decoded.outputs else encode()

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
        manifest = deployment.spec.manifest
        return oip.model_metadata(name, versions, deployment.signature, manifest.engine, manifest.codecs)

    async def _model_ready(self, request: Request, route: Route) -> Encoded:
        deployment = self._visible(request, route)
        if self._runtime.draining:
            raise OverloadedError("Server exiting", retry_after=1.0)
        return oip.model_ready(deployment.spec.model)

    async def _model_list(self, request: Request, route: Route) -> Encoded:
        return oip.json_reply({"models": self._opened(request)})

    async def _model_config(self, request: Request, route: Route) -> Encoded:
        return oip.json_reply(oip.model_config(self._visible(request, route)))

    async def _model_statistics(self, request: Request, route: Route) -> Encoded:
        self._any_key(request, route.model)
        service, model = self._runtime.service, route.model or ""
        every = () if route.version or "@" in model else service.all_versions(model)
        return _statistics(every or [service.find(model, route.version)])

    async def _all_statistics(self, request: Request, route: Route) -> Encoded:
        opened = set(self._opened(request))
        return _statistics(each for each in self._runtime.service.all_versions() if each.spec.model in opened)

    async def _shared_memory_status(self, request: Request, route: Route) -> Encoded:
        self._any_key(request)
        return oip.json_reply([])

    async def _shared_memory_unregister(self, request: Request, route: Route) -> Encoded:
        # Clients begin by parting with what a former run of theirs may have left: there is nothing, so that is done.
        self._any_key(request)
        return oip.json_reply({})

    def _opened(self, request: Request) -> list[str]:
        """The models that the request's key opens."""
        return self._runtime.gate.opened(
            wire.bearer_key(request.headers), self._runtime.service.models(), request.client, request.certificate
        )

    def _visible(self, request: Request, route: Route) -> Served:
        self._any_key(request, route.model)
        return self._runtime.service.resolve(route.model or "", route.version)

    def _any_key(self, request: Request, model: str | None = None) -> None:
        """Let operators, and tenants whose key opens `model`, read what is served."""
        self._runtime.gate.reader(wire.bearer_key(request.headers), model, request.client, request.certificate)


def _statistics(versions: Iterable[Version]) -> Encoded:
    return oip.json_reply({"model_stats": [oip.model_statistics(version) for version in versions]})
