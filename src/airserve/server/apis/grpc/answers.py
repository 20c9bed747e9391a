"""Calls of models: one message to one response, and a stream of messages to the responses of each."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from airserve.accounts import Principal
from airserve.accounts.routes import Route
from airserve.core.errors import AirserveError, NotImplementedHereError
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import open_inference_grpc as oip
from airserve.protocols import sealed
from airserve.protocols.encoded import Headers
from airserve.protocols.open_inference import generation_of
from airserve.protocols.protos.open_inference_pb import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from airserve.server.apis.grpc.ahead import in_order
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.apis.grpc.refusals import Context, incident
from airserve.server.apis.sealed import refuse_hardened
from airserve.server.calls import Calls
from airserve.server.coding import answered, opened
from airserve.server.http import Request
from airserve.serving.service import Served


class Answers:
    """Answers messages from one runtime."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def one(self, message: ModelInferRequest, ctx: Context) -> tuple[ModelInferResponse, Headers]:
        """The response to a message, and what every reply says of itself."""
        principal, served = self._admit(message, "infer")
        if generates(served.spec.manifest.engine):
            raise NotImplementedHereError("ModelInfer RPC doesn't support models with decoupled transaction policy")
        return await self._infer(message, principal, served, arrival(), ctx)

    async def all(
        self, messages: AsyncIterator[ModelInferRequest], ctx: Context
    ) -> AsyncGenerator[ModelStreamInferResponse, None]:
        """The responses to every message, in the order of the messages.

        A refusal is the answer to its own message; it ends the stream only where the client asks for that.
        """
        strict = ctx.request_headers.get("triton_grpc_error") == "true"
        async with aclosing(in_order(messages, partial(self._each, ctx, strict))) as responses:
            async for response in responses:
                yield response

    async def _each(
        self, ctx: Context, strict: bool, message: ModelInferRequest
    ) -> AsyncGenerator[ModelStreamInferResponse, None]:
        try:
            async with aclosing(self._responses(message, ctx)) as responses:
                async for response in responses:
                    yield ModelStreamInferResponse(infer_response=response)
        except Exception as failure:
            if strict:
                raise
            error = failure if isinstance(failure, AirserveError) else incident(failure)
            yield oip.stream_error(message, error)

    async def _responses(self, message: ModelInferRequest, ctx: Context) -> AsyncGenerator[ModelInferResponse, None]:
        request = replace(arrival(), started_ns=time.monotonic_ns())
        principal, served = self._admit(message, self._route(message))
        if not generates(served.spec.manifest.engine):
            response, headers = await self._infer(message, principal, served, request, ctx)
            if wire.REPLAYED in headers:
                # A stream has one head for all its responses.
                response.parameters[oip.REPLAYED] = oip.boolean(True)
            response.parameters[oip.FINAL] = oip.boolean(True)
            yield response
            return
        async with aclosing(self._generate(message, principal, served, request, ctx)) as pieces:
            async for response in pieces:
                yield response

    def _admit(self, message: ModelInferRequest, route: Route) -> tuple[Principal, Served]:
        """Who calls, and what serves the model that the message names."""
        principal = self._calls.admit(arrival(), route, message.model_name)
        service = self._calls.runtime.service
        return principal, service.resolve(message.model_name, message.model_version or None, principal.tenant_id)

    def _route(self, message: ModelInferRequest) -> Route:
        """What a message on a stream asks for; that there is no such model is told to whoever may ask."""
        try:
            served = self._calls.runtime.service.resolve(message.model_name, message.model_version or None)
        except AirserveError:
            return "infer"
        return "generate" if generates(served.spec.manifest.engine) else "infer"

    async def _infer(
        self, message: ModelInferRequest, principal: Principal, served: Served, request: Request, ctx: Context
    ) -> tuple[ModelInferResponse, Headers]:
        with self._calls.in_flight():
            if sealed.is_sealed_message(message):
                return await self._infer_sealed(message, principal, served, request, ctx)
            manifest = served.spec.manifest
            held = self._calls.held_inputs(principal)
            asked = oip.decode_infer(
                served.spec.model,
                served.signature,
                message,
                max_bytes=self._calls.max_body_bytes,
                codecs=manifest.codecs,
                held=held,
            )
            await held.settle()
            inputs = await opened(asked.inputs, asked.coded, self._calls.frame_references(request, principal))
            timeout_us = _timeout_us(ctx, request, asked.timeout_us)
            reply, headers = await self._calls.infer(
                request, principal, served, message.to_binary(), inputs, asked.rows, timeout_us, asked=asked.asked
            )
            encode = partial(oip.encode_infer, asked, reply, labels=manifest.labels)
            return await answered(asked.outputs, reply, encode), headers

    async def _infer_sealed(
        self, message: ModelInferRequest, principal: Principal, served: Served, request: Request, ctx: Context
    ) -> tuple[ModelInferResponse, Headers]:
        refuse_hardened(principal)
        call = sealed.decode_message(served.spec.manifest, request.headers, message)
        timeout_us = _timeout_us(ctx, request, None)
        reply, headers = await self._calls.infer(
            request, principal, served, message.to_binary(), call.inputs, 1, timeout_us, identity=call.commitment
        )
        return sealed.encode_message(message, reply), headers

    async def _generate(
        self, message: ModelInferRequest, principal: Principal, served: Served, request: Request, ctx: Context
    ) -> AsyncGenerator[ModelInferResponse, None]:
        asked = oip.decode_generate(served.spec.model, message)
        generation = generation_of(asked, served.spec.model, stream=True)
        timeout_us = _timeout_us(ctx, request, asked.timeout_us)
        pieces = self._calls.generate(request, principal, served, message.to_binary(), generation, timeout_us)
        async with aclosing(pieces):
            async for piece in pieces:
                response = oip.encode_piece(message, served.spec.model, str(served.spec.version), piece)
                if response is not None:
                    yield response


def _timeout_us(ctx: Context, request: Request, asked_us: int | None) -> int | None:
    """The earlier of `grpc-timeout` and the parameter `timeout`, counted from when the request came."""
    left_ms = ctx.timeout_ms
    if left_ms is None:
        return asked_us
    passed_us = (time.monotonic_ns() - request.started_ns) / 1e3
    of_grpc_us = max(1, int(passed_us + left_ms * 1e3))
    return min(of_grpc_us, asked_us) if asked_us else of_grpc_us
