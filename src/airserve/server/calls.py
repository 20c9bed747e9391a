"""A call's way into the house, the same for every protocol: who calls, which model, until when, and what came of it."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from airserve.accounts import Principal
from airserve.core.call import Call, Reply, Tensors
from airserve.core.errors import OverloadedError
from airserve.protocols import headers as wire
from airserve.protocols.encoded import Headers
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment


class Calls:
    """What the APIs share. Each step is a method, since protocols name the model in different places."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.max_body_bytes = runtime.settings.max_body_bytes

    def admit(self, request: Request, model: str | None = None) -> Principal:
        """The tenant behind the request's key, before any of its body is read; refused while the server drains."""
        principal = self.runtime.gate.tenant(wire.bearer_key(request.headers), model)
        if self.runtime.draining:
            raise OverloadedError("Server not ready: it is about to stop; call again", retry_after=1.0)
        return principal

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """A drain waits for what is inside."""
        self.runtime.begin()
        try:
            yield
        finally:
            self.runtime.end()

    async def body(self, request: Request) -> bytes | memoryview:
        """The whole body, bounded."""
        return await request.read(self.max_body_bytes)

    async def infer(
        self,
        request: Request,
        principal: Principal,
        deployment: Deployment,
        body: bytes | memoryview,
        inputs: Tensors,
        rows: int,
        timeout_us: int | None = None,
    ) -> tuple[Reply, Headers]:
        """Run one call of tensors to its end: the reply, and the headers that every reply carries."""
        headers = request.headers
        request_id = wire.request_id(headers, new_id)
        model = deployment.spec.model
        call = Call(
            id=self.event_id(principal, model, wire.call_id(headers), body),
            model=model,
            inputs=inputs,
            rows=rows,
            deadline_ns=request.started_ns + wire.timeout_ns(headers, timeout_us, self._deadline_ms(deployment)),
            tenant_id=principal.tenant_id or "",
            key_id=principal.key_id,
            bytes_in=len(body),
        )
        reply = await deployment.infer(call, self.runtime.prices.of(model))
        total_ns = time.monotonic_ns() - request.started_ns
        return reply, wire.reply_headers(headers, request_id, reply.timings, total_ns)

    def _deadline_ms(self, deployment: Deployment) -> int:
        return deployment.spec.manifest.default_deadline_ms or self.runtime.settings.default_deadline_ms

    @staticmethod
    def event_id(principal: Principal, model: str, call_id: str | None, body: bytes | memoryview) -> str:
        """The id under which the call is metered.

        A client that retries sends the same call id and body, and is charged once. Model and body are part of the
        id, so that another call under an old id is another call. Without a call id every request is its own.
        """
        if call_id is None:
            return new_id()
        digest = blake2b(f"{principal.tenant_id}:{model}:{call_id}:".encode(), digest_size=16)
        digest.update(body)
        return digest.hexdigest()


_RUN = secrets.token_hex(8)
_COUNTER = itertools.count()


def new_id() -> str:
    """Unique, and cheap: random bytes for each id would let go of the interpreter lock in the event loop."""
    return f"{_RUN}{next(_COUNTER):016x}"
