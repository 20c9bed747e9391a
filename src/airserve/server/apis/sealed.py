"""The keys of sealed models, and sealed calls for the APIs that take them."""

from __future__ import annotations

import asyncio

from airserve.accounts import Principal
from airserve.core.errors import AirserveError, ForbiddenError, NotFoundError
from airserve.engines.sealed import SealedModel
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols import sealed
from airserve.protocols.encoded import Encoded
from airserve.server.calls import Calls
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment
from airserve.serving.service import Served
from airserve.serving.version import Version


class SealedApi:
    """`/sealed`: the key that calls to a model are sealed to, for whoever may read about the model."""

    prefix = "/sealed"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def handle(self, request: Request) -> Encoded:
        """The signed key of one version."""
        route = sealed.match("GET" if request.method == "HEAD" else request.method, request.path)
        self._runtime.gate.reader(wire.bearer_key(request.headers), route.model, request.client, request.certificate)
        served = self._runtime.service.resolve(route.model, route.version)
        if served.spec.manifest.sealed is None:
            raise NotFoundError(
                f"model '{served.spec.model}' takes no sealed calls; its operator publishes it with --sealed"
            )
        if isinstance(served, Version):
            default_ms = self._runtime.settings.default_deadline_ms
            served = await served.ready(request.started_ns + wire.timeout_ns(request.headers, None, default_ms))
        assert isinstance(served, Deployment), "no generator is sealed"  # noqa: S101
        model = served.warm.model
        assert isinstance(model, SealedModel), "its manifest says so"  # noqa: S101
        # The worker may be busy, and an event loop does not wait.
        key = model.known_key()
        if key is None:
            key = await asyncio.to_thread(model.key)
        return sealed.render_key(key.identity, key.key)

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)


def refuse_hardened(principal: Principal) -> None:
    """Refuse who has outputs rounded or cut by plan: nobody here can do that to outputs that are sealed."""
    hardening = principal.account.terms.hardening
    if hardening.top_k is not None or hardening.decimals is not None:
        raise ForbiddenError(
            "your plan rounds or cuts outputs, which nobody can do to sealed ones; call without a seal"
        )


async def infer_sealed(
    calls: Calls, request: Request, principal: Principal, served: Served, body: bytes | memoryview
) -> Encoded:
    """The sealed reply to the sealed call in `body`."""
    refuse_hardened(principal)
    call = sealed.decode(served.spec.manifest, request.headers, body)
    reply, headers = await calls.infer(request, principal, served, body, call.inputs, 1, identity=call.commitment)
    return sealed.encode(reply, headers)
