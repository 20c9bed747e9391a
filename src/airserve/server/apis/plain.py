"""The routes of plain HTTP: what a person with curl would try first."""

from __future__ import annotations

from airserve.core.errors import AirserveError, UnsupportedEncodingError
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols import plain
from airserve.protocols.encoded import Encoded
from airserve.protocols.plain import Operation, Route
from airserve.protocols.sealed import is_sealed
from airserve.server.apis.sealed import infer_sealed
from airserve.server.calls import Calls
from airserve.server.http import Request
from airserve.server.runtime import Runtime


class PlainApi:
    """`/models`."""

    prefix = "/models"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._calls = Calls(runtime)

    async def handle(self, request: Request) -> Encoded:
        """Answer one request."""
        # HEAD is GET whose body the front leaves out (RFC 9110 §9.3.2).
        route = plain.match("GET" if request.method == "HEAD" else request.method, request.path)
        if route.operation is Operation.CALL:
            return await self._call(request, route)
        key = wire.bearer_key(request.headers)
        if route.operation is Operation.LIST:
            return plain.model_list(
                self._runtime.gate.opened(key, self._runtime.service.models(), request.client, request.certificate)
            )
        self._runtime.gate.reader(key, route.model, request.client, request.certificate)
        spec = self._runtime.service.resolve(route.model, route.version).spec
        return plain.describe(spec.manifest, spec.model, spec.version, generates=generates(spec.manifest.engine))

    def render_error(self, error: AirserveError) -> Encoded:
        """`{"error": "…"}` as on `/v2`."""
        return oip.render_error(error)

    async def _call(self, request: Request, route: Route) -> Encoded:
        calls = self._calls
        principal = calls.admit(request, "infer", route.model)
        with calls.in_flight():
            body = await calls.body(request)
            deployment = self._runtime.service.resolve(route.model, route.version, principal.tenant_id)
            manifest = deployment.spec.manifest
            if generates(manifest.engine):
                raise UnsupportedEncodingError(
                    f"model '{deployment.spec.model}' answers in pieces; call POST /v1/chat/completions, or say: "
                    f"airserve chat {deployment.spec.model}"
                )
            if is_sealed(request.headers):
                return await infer_sealed(calls, request, principal, deployment, body)
            asked = plain.decode(manifest, request.headers, body, max_bytes=calls.max_body_bytes)
            reply, headers = await calls.infer(request, principal, deployment, body, asked.inputs, asked.rows)
            return plain.encode(manifest, asked, reply, headers)
