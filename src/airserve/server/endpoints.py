"""Each route of the service: who may call it, and which room answers. No bytes are parsed or made in here."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import blake2b

import structlog

from airserve import __version__
from airserve.accounts import Principal
from airserve.core.call import Call
from airserve.core.errors import AirserveError, NotFoundError, OverloadedError
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.open_inference import Encoded, Operation, Route
from airserve.server.http import Request
from airserve.server.metrics import MetricsPage
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment

log = structlog.get_logger("airserve.server")

DRAIN_TOKEN_VARIABLE = "AIRSERVE_RUN_DRAIN_TOKEN"  # noqa: S105  # the name of a variable, not a secret
_JSON = (b"content-type", b"application/json")

Handler = Callable[[Request, Route], Awaitable[Encoded]]


class Endpoints:
    """Answers requests from one runtime. Every route is denied without a key, except health."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._metrics = MetricsPage(runtime)
        self._drain_token = os.environ.get(DRAIN_TOKEN_VARIABLE, "")
        self._handlers: dict[Operation, Handler] = {
            Operation.INFER: self._infer,
            Operation.SERVER_LIVE: self._server_live,
            Operation.SERVER_READY: self._server_ready,
            Operation.SERVER_METADATA: self._server_metadata,
            Operation.MODEL_METADATA: self._model_metadata,
            Operation.MODEL_READY: self._model_ready,
        }

    async def handle(self, request: Request) -> Encoded:
        """The response to `request`, always one; an unexpected failure is logged and answered with its id."""
        try:
            if request.path == "/metrics":
                return self._metrics_page(request)
            if request.path == "/control/drain":
                return await self._drain(request)
            # HEAD is GET whose body the front leaves out (RFC 9110 §9.3.2).
            route = oip.match("GET" if request.method == "HEAD" else request.method, request.path)
            return await self._handlers[route.operation](request, route)
        except AirserveError as error:
            return oip.render_error(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            incident = _new_id()
            log.exception("unexpected failure", incident=incident, method=request.method, path=request.path[:200])
            return oip.render_error(AirserveError(f"an unexpected failure; report it with the id {incident}"))

    async def _infer(self, request: Request, route: Route) -> Encoded:
        runtime = self._runtime
        headers = request.headers
        model = route.model or ""
        principal = runtime.gate.tenant(wire.bearer_key(headers), model)
        if runtime.draining:
            raise OverloadedError("Server not ready: it is about to stop; call again", retry_after=1.0)
        runtime.begin()
        try:
            request_id = wire.request_id(headers, _new_id)
            body = await request.read(self._settings.max_body_bytes)
            deployment = runtime.service.resolve(model, route.version)
            decoded = oip.decode_infer(
                deployment.spec.model, deployment.signature, headers, body, max_bytes=self._settings.max_body_bytes
            )
            timeout_ns = wire.timeout_ns(headers, decoded.timeout_us, self._deadline_ms(deployment))
            call = Call(
                id=_event_id(principal, deployment.spec.model, wire.call_id(headers), body),
                model=deployment.spec.model,
                inputs=decoded.inputs,
                rows=decoded.rows,
                deadline_ns=request.started_ns + timeout_ns,
                tenant_id=principal.tenant_id or "",
                key_id=principal.key_id,
                bytes_in=len(body),
            )
            reply = await deployment.infer(call, runtime.prices.of(call.model))
            total_ns = time.monotonic_ns() - request.started_ns
            return oip.encode_infer(decoded, reply, wire.reply_headers(headers, request_id, reply.timings, total_ns))
        finally:
            runtime.end()

    def _deadline_ms(self, deployment: Deployment) -> int:
        return deployment.spec.manifest.default_deadline_ms or self._settings.default_deadline_ms

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

    def _metrics_page(self, request: Request) -> Encoded:
        self._runtime.gate.operator(wire.bearer_key(request.headers))
        headers = [(b"content-type", self._metrics.content_type)]
        return Encoded(200, headers, [self._metrics.render()])

    async def _drain(self, request: Request) -> Encoded:
        """Only the supervisor knows the token, made anew for each run; everybody else sees no such route."""
        token = wire.bearer_key(request.headers)
        if not self._drain_token or not hmac.compare_digest(token.encode(), self._drain_token.encode()):
            raise NotFoundError("Not Found")
        finished = await self._runtime.drain()
        return Encoded(200, [_JSON], [b'{"drained":true}' if finished else b'{"drained":false}'])


_RUN = secrets.token_hex(8)
_COUNTER = itertools.count()


def _new_id() -> str:
    """Unique, and cheap: random bytes for each id would let go of the interpreter lock in the event loop."""
    return f"{_RUN}{next(_COUNTER):016x}"


def _event_id(principal: Principal, model: str, call_id: str | None, body: bytes | memoryview) -> str:
    """The id under which the call is metered.

    A client that retries sends the same call id and body, and is charged once. Model and body are part of the id,
    so that another call under an old id is another call. Without a call id every request is its own.
    """
    if call_id is None:
        return _new_id()
    digest = blake2b(f"{principal.tenant_id}:{model}:{call_id}:".encode(), digest_size=16)
    digest.update(body)
    return digest.hexdigest()
