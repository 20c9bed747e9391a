"""A call's way into the house, the same for every protocol: who calls, which model, until when, and what came of it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from airserve.accounts import Principal
from airserve.accounts.routes import Route
from airserve.core.call import Call, Reply, Tensors, VariantAsked
from airserve.core.errors import BudgetExhaustedError, InvalidInputError, OverloadedError, RateLimitedError
from airserve.core.generation import Generation, Piece
from airserve.protocols import headers as wire
from airserve.protocols.encoded import Headers
from airserve.server.http import Request
from airserve.server.once import ToItsEnd, once
from airserve.server.runtime import Runtime
from airserve.serving import bounds
from airserve.serving.admission import Admission
from airserve.serving.allowance import allowed
from airserve.serving.frame_references import StreamReferences
from airserve.serving.generation import GenerationDeployment
from airserve.serving.hardening import harden
from airserve.serving.held_inputs import TenantInputs
from airserve.serving.response_cache import asked_of
from airserve.serving.service import Served
from airserve.serving.standing import Standing
from airserve.serving.statistics import Statistics
from airserve.serving.version import Version


class Calls:
    """What the APIs share. Each step is a method, since protocols name the model in different places."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.max_body_bytes = runtime.settings.max_body_bytes

    def admit(self, request: Request, route: Route, model: str | None = None) -> Principal:
        """The tenant behind the request's key, before any of its body is read; refused while the server drains."""
        principal = self.runtime.gate.tenant(
            wire.bearer_key(request.headers), model, route, request.client, request.certificate
        )
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

    def held_inputs(self, principal: Principal) -> TenantInputs:
        """The inputs that the tenant sent lately, and may name by their digests."""
        return self.runtime.memories.inputs.of(principal.tenant_id or "")

    def frame_references(self, request: Request, principal: Principal) -> StreamReferences | None:
        """The frames of the stream that the request belongs to, for those that are differences; None without one."""
        stream = wire.stream_id(request.headers)
        return None if stream is None else self.runtime.memories.frames.of(principal.tenant_id or "", stream)

    async def infer(
        self,
        request: Request,
        principal: Principal,
        deployment: Served,
        body: bytes | memoryview,
        inputs: Tensors,
        rows: int,
        timeout_us: int | None = None,
        *,
        asked: VariantAsked | None = None,
        identity: bytes | None = None,
    ) -> tuple[Reply, Headers]:
        """Run one call of tensors to its end: the reply, and the headers that every reply carries.

        Attempts at one call, which bring the same call id and body, run it once and get the same reply.

        `asked` is what the protocol has of wishes for a variant; `identity` is what all attempts at the call have in
        common, where that is not the body.
        """
        headers = request.headers
        request_id = wire.request_id(headers, new_id)
        call = self._call(request, principal, deployment, body, inputs, rows, timeout_us, identity, asked)
        run = partial(self._answer, request, principal, deployment, call, identity)
        if identity is None and (b"airserve-call-id" in headers or b"idempotency-key" in headers):
            # Two attempts at a sealed call are sealed apart, and so are their answers.
            reply, replayed = await once(self.runtime.memories.replays, call, run)
        else:
            reply, replayed = await run(None), False
        total_ns = time.monotonic_ns() - request.started_ns
        said = wire.reply_headers(headers, request_id, reply.timings, total_ns)
        if replayed:
            said.append(wire.REPLAYED)
        elif not reply.timings.batch_rows:
            said.append(wire.CACHE_HIT)
        if reply.variant:
            said += wire.answered_by(reply)
        return reply, said

    async def _answer(
        self,
        request: Request,
        principal: Principal,
        served: Served,
        call: Call,
        identity: bytes | None,
        future: ToItsEnd | None,
    ) -> Reply:
        """The reply as the tenant's plan gives it, computed or from the cache. It is counted and charged here."""
        deployment = await served.ready(call.deadline_ns) if isinstance(served, Version) else served
        if isinstance(deployment, GenerationDeployment):
            raise InvalidInputError(
                f"model '{deployment.spec.model}' generates text and takes no tensors; "
                "call /v1/chat/completions or /v1/completions"
            )
        price = self.runtime.prices.of(call.model, principal.account.plan_id)
        terms, cache = principal.account.terms, self.runtime.memories.responses
        variants = deployment.allowed_variants(call.asked, terms.min_accuracy)
        asked = None
        if cache.serves and identity is None and deployment.spec.manifest.deterministic:
            asked = await asked_of(deployment.spec, terms.hardening, call.inputs, call.bytes_in, variants)
        standing = self._standing(request, principal)
        admission = None
        if standing is not None:
            most = bounds.of_tensors(call, deployment.reply_bytes_a_row, price, time.monotonic_ns())
            admission = await self._admission(standing, most, call.deadline_ns, deployment.statistics)
        reply = None if asked is None else cache.get(call.tenant_id, asked, time.monotonic_ns())
        if reply is not None:
            await asyncio.to_thread(deployment.answer_again, call, price, admission, reply)
        else:
            try:
                reply = await deployment.infer(
                    call, price, admission, priority=terms.priority, share=terms.share, future=future, allowed=variants
                )
            except asyncio.CancelledError:
                if future is None:
                    raise
                reply = future.reply_after_all()
            if terms.hardening.top_k is not None or terms.hardening.decimals is not None:
                reply = replace(reply, outputs=await asyncio.to_thread(harden, reply.outputs, terms.hardening))
            if asked is not None and deployment.is_best(reply, variants):
                # An answer that haste made worse is not given again to who has time.
                cache.put(call.tenant_id, asked, reply, time.monotonic_ns())
        if principal.payload_logging is not None and identity is None:
            # What is sealed is not kept: nobody here could read it.
            self.runtime.payloads.keep_call(principal, call, reply)
        return reply

    async def generate(
        self,
        request: Request,
        principal: Principal,
        deployment: Served,
        body: bytes | memoryview,
        generation: Generation,
        timeout_us: int | None = None,
        *,
        streamed: bool = True,
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of one generated answer; a refusal is raised at the first step.

        It is in flight until it ends. Closing it early frees the slot, and charges the tokens that were produced.
        `streamed` is False where nothing leaves before all is there.
        """
        call = self._call(request, principal, deployment, body, {}, 1, timeout_us)
        if isinstance(deployment, Version):
            deployment = await deployment.ready(call.deadline_ns)
        if not isinstance(deployment, GenerationDeployment):
            raise InvalidInputError(
                f"model '{deployment.spec.model}' generates no text; send it tensors, with POST "
                f"/v2/models/{deployment.spec.model}/infer"
            )
        terms = principal.account.terms
        if call.asked is not None or terms.min_accuracy is not None:
            # Text is of the one variant that is served; who will not have that is told so.
            allowed(call.model, deployment.spec.manifest.served, call.asked, terms.min_accuracy)
        price = self.runtime.prices.of(call.model, principal.account.plan_id)
        with self.in_flight():
            owned = replace(generation, owner=call.tenant_id)
            standing = self._standing(request, principal)
            admission = None
            if standing is not None:
                most = bounds.of_generation(call, generation, deployment.spec, price, time.monotonic_ns())
                admission = await self._admission(standing, most, call.deadline_ns, deployment.statistics)
            answer = deployment.generate(
                call, owned, price, admission, priority=terms.priority, share=terms.share, streamed=streamed
            )
            kept: list[Piece] | None = None if principal.payload_logging is None else []
            try:
                async with aclosing(answer) as pieces:
                    async for piece in pieces:
                        if kept is not None:
                            kept.append(piece)
                        yield piece
            finally:
                if kept:
                    self.runtime.payloads.keep_generation(principal, call, generation, kept)

    async def _admission(
        self, standing: Standing, most: bounds.Most, deadline_ns: int, statistics: Statistics
    ) -> Admission:
        """The way past limits and budgets; who is kept out by them is counted."""
        try:
            return await self.runtime.admissions.admit(standing, most, deadline_ns)
        except (RateLimitedError, BudgetExhaustedError) as error:
            statistics.refuse(error)
            raise

    def _standing(self, request: Request, principal: Principal) -> Standing | None:
        """What limits the calls of a key; the head of the answer tells of it."""
        request.notes.standing = standing = self.runtime.admissions.standing(principal)
        return standing

    def _call(
        self,
        request: Request,
        principal: Principal,
        deployment: Served,
        body: bytes | memoryview,
        inputs: Tensors,
        rows: int,
        timeout_us: int | None,
        identity: bytes | None = None,
        asked: VariantAsked | None = None,
    ) -> Call:
        headers, model = request.headers, deployment.spec.model
        return Call(
            id=self.event_id(principal, model, wire.call_id(headers), body if identity is None else identity),
            model=model,
            inputs=inputs,
            rows=rows,
            deadline_ns=request.started_ns + wire.timeout_ns(headers, timeout_us, self._deadline_ms(deployment)),
            tenant_id=principal.tenant_id or "",
            key_id=principal.key_id,
            project_id=principal.project_id,
            bytes_in=len(body),
            asked=wire.variant_asked(headers, asked),
        )

    def _deadline_ms(self, deployment: Served) -> int:
        return deployment.spec.manifest.default_deadline_ms or self.runtime.settings.default_deadline_ms

    @staticmethod
    def event_id(principal: Principal, model: str, call_id: str | None, body: bytes | memoryview) -> str:
        """The id under which the call is metered.

        A client that retries sends the same call id and body, and is charged once. Project, model and body are part
        of the id, so that another call under an old id is another call: no project pays with what another paid for,
        nor is it given the answer. Without a call id every request is its own.
        """
        if call_id is None:
            return new_id()
        # Each part behind its length: no other parts come to the same bytes.
        parts = (principal.tenant_id or "", principal.project_id, model, call_id)
        digest = blake2b("".join(f"{len(part)}:{part}" for part in parts).encode(), digest_size=16)
        digest.update(body)
        return digest.hexdigest()


_RUN = secrets.token_hex(8)
_COUNTER = itertools.count()


def new_id() -> str:
    """Unique, and cheap: random bytes for each id would let go of the interpreter lock in the event loop."""
    return f"{_RUN}{next(_COUNTER):016x}"
