"""The routes of OpenAI's API: text that is generated, and embeddings. The model is named in the body."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np

from airserve.accounts import Principal
from airserve.accounts.routes import Route as Scoped
from airserve.core.call import Array, Reply, Timings
from airserve.core.errors import AirserveError, NotFoundError
from airserve.core.generation import Piece
from airserve.core.tensor import Signature
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import openai
from airserve.protocols.encoded import Encoded, Stream
from airserve.protocols.openai import GenerationRequest, ModelCard, Operation, Route
from airserve.server.calls import Calls, new_id
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.serving.service import Served

Handler = Callable[[Request, Route], Awaitable[Encoded]]
Decode = Callable[[Mapping[str, Any]], GenerationRequest]


class OpenAiApi:
    """`/v1`."""

    prefix = "/v1"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._calls = Calls(runtime)
        self._handlers: dict[Operation, Handler] = {
            Operation.MODELS: self._models,
            Operation.MODEL: self._model,
            Operation.CHAT: self._chat,
            Operation.COMPLETION: self._completion,
            Operation.EMBEDDINGS: self._embeddings,
        }

    async def handle(self, request: Request) -> Encoded:
        """Answer one request; refusals too carry its id."""
        try:
            # HEAD is GET whose body the front leaves out (RFC 9110 §9.3.2).
            route = openai.match("GET" if request.method == "HEAD" else request.method, request.path)
            encoded = await self._handlers[route.operation](request, route)
        except AirserveError as error:
            encoded = self.render_error(error)
        request_id = wire.request_id(request.headers, new_id)
        elapsed_ns = time.monotonic_ns() - request.started_ns
        return replace(encoded, headers=[*encoded.headers, *openai.reply_headers(request_id, elapsed_ns)])

    def render_error(self, error: AirserveError) -> Encoded:
        """OpenAI's error object."""
        return openai.render_error(error)

    async def _models(self, request: Request, route: Route) -> Encoded:
        names = self._runtime.gate.opened(
            wire.bearer_key(request.headers), self._runtime.service.models(), request.client, request.certificate
        )
        return openai.model_list([self._card(name) for name in names])

    async def _model(self, request: Request, route: Route) -> Encoded:
        name = route.model or ""
        self._runtime.gate.reader(wire.bearer_key(request.headers), name, request.client, request.certificate)
        self._resolve(name)
        return openai.model_object(self._card(name))

    def _card(self, name: str) -> ModelCard:
        try:
            deployment = self._runtime.service.resolve(name)
        except NotFoundError:
            # Published under other aliases only; `name@alias` calls it.
            return ModelCard(name, ())
        if generates(deployment.spec.manifest.engine):
            return ModelCard(name, ("chat", "completions"))
        embeds = openai.text_input(deployment.signature) is not None
        return ModelCard(name, ("embeddings", "tensors") if embeds else ("tensors",))

    async def _chat(self, request: Request, route: Route) -> Encoded:
        return await self._generate(request, "chat", openai.decode_chat)

    async def _completion(self, request: Request, route: Route) -> Encoded:
        return await self._generate(request, "completions", openai.decode_completion)

    async def _generate(self, request: Request, route: Scoped, decode: Decode) -> Encoded:
        calls = self._calls
        principal = calls.admit(request, route)
        with calls.in_flight():
            body = await calls.body(request)
            asked = decode(self._document(request, body))
            deployment = self._opened(principal, asked.model)
            if not generates(deployment.spec.manifest.engine):
                raise _wrong_model(asked.model, "does not generate text", deployment.signature)
            head = _head(asked, deployment)
            pieces = calls.generate(request, principal, deployment, body, asked.generation, streamed=asked.stream)
            if asked.stream:
                # A refusal comes before the first piece, and so with the status that it deserves.
                first = await anext(pieces)
                events = openai.Events(head, include_usage=asked.include_usage)
                return Encoded(200, list(openai.STREAM_HEADERS), stream=self._stream(first, pieces, events))
            answer = openai.Answer(head)
            async with aclosing(pieces):
                async for piece in pieces:
                    answer.add(piece)
            return answer.encode()

    async def _stream(self, first: Piece, pieces: AsyncGenerator[Piece, None], events: openai.Events) -> Stream:
        with self._calls.in_flight():
            async with aclosing(pieces):
                try:
                    last = first
                    yield events.piece(first)
                    async for last in pieces:
                        # Tokens whose text the engine holds back make no event.
                        if last.choices:
                            yield events.piece(last)
                except AirserveError as error:
                    yield openai.error_event(error)
                    return
            yield events.end(last.tokens)

    async def _embeddings(self, request: Request, route: Route) -> Encoded:
        calls = self._calls
        principal = calls.admit(request, "embeddings")
        with calls.in_flight():
            body = await calls.body(request)
            asked = openai.decode_embeddings(self._document(request, body))
            deployment = self._opened(principal, asked.model)
            if generates(deployment.spec.manifest.engine):
                raise _wrong_model(asked.model, "generates text and gives no embeddings")
            name = openai.text_input(deployment.signature)
            if name is None:
                raise _wrong_model(asked.model, "does not turn texts into embeddings", deployment.signature)
            openai.check_dimensions(asked.dimensions, deployment.signature)
            embeddings, tokens, least = await self._embed(request, principal, deployment, body, name, asked.texts)
            encoded = openai.encode_embeddings(asked, embeddings, tokens)
            timing = wire.server_timing(least.timings, time.monotonic_ns() - request.started_ns)
            return replace(encoded, headers=[*encoded.headers, timing, *wire.answered_by(least)])

    async def _embed(
        self,
        request: Request,
        principal: Principal,
        deployment: Served,
        body: bytes | memoryview,
        name: str,
        texts: list[str],
    ) -> tuple[Array, int, Reply]:
        """The embeddings of `texts` [n, d], their tokens, and the least accurate reply, with the time that all took.

        More texts than one run of the model takes become several calls, one after another: a long list must not
        push the calls of others out of the queue.
        """
        size = deployment.signature.max_batch or 1
        embeddings, tokens, timings, replies = [], 0, Timings(), []
        for start in range(0, len(texts), size):
            part = np.array([text.encode() for text in texts[start : start + size]], dtype=object)
            # Each call is metered under the bytes that it brings.
            sent = body if len(texts) <= size else b"%d:" % start + b"\0".join(part)
            reply, _ = await self._calls.infer(request, principal, deployment, sent, {name: part}, len(part))
            replies.append(reply)
            embeddings.append(reply.outputs[openai.OUTPUT])
            tokens += int(reply.outputs[openai.TOKENS].sum()) if openai.TOKENS in reply.outputs else 0
            timings = Timings(
                timings.queue_ns + reply.timings.queue_ns,
                timings.compute_ns + reply.timings.compute_ns,
                max(timings.batch_rows, reply.timings.batch_rows),
            )
        least = min(replies, key=lambda reply: 1.0 if reply.accuracy is None else reply.accuracy)
        return np.concatenate(embeddings), tokens, replace(least, timings=timings)

    def _document(self, request: Request, body: bytes | memoryview) -> dict[str, Any]:
        return openai.read_document(request.headers, body, max_bytes=self._calls.max_body_bytes)

    def _opened(self, principal: Principal, model: str) -> Served:
        """The deployment behind `model`, where the key opens it."""
        self._runtime.gate.opens(principal, model)
        return self._resolve(model, principal.tenant_id)

    def _resolve(self, model: str, tenant_id: str | None = None) -> Served:
        try:
            return self._runtime.service.resolve(model, None, tenant_id)
        except NotFoundError as error:
            raise openai.UnknownModelError(error.message) from None


def _head(asked: GenerationRequest, deployment: Served) -> openai.Head:
    chat = asked.generation.chat
    return openai.Head(
        id=f"{'chatcmpl' if chat else 'cmpl'}-{new_id()}",
        created=int(time.time()),
        model=asked.model,
        fingerprint=f"fp_{deployment.spec.address[:10]}",
        chat=chat,
    )


def _wrong_model(model: str, problem: str, signature: Signature | None = None) -> openai.ParameterError:
    hint = "" if signature is None else f"; it takes tensors, at /v2/models/{model}/infer"
    return openai.ParameterError(f"The model '{model}' {problem}{hint}.", "model", "model_not_supported")
