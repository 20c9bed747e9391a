"""The generate extension of the Open Inference Protocol: text, or tensors by their names, whole or as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from airserve.accounts import Principal
from airserve.core.errors import AirserveError
from airserve.core.generation import Piece
from airserve.engines import generates
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded, Stream
from airserve.protocols.open_inference import Answers, GenerateRequest, Route
from airserve.server.calls import Calls, new_id
from airserve.server.http import Request
from airserve.serving.service import Served


class GenerateRoutes:
    """`…/generate` and `…/generate_stream`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def whole(self, request: Request, route: Route) -> Encoded:
        """One answer."""
        return await self._answer(request, route, stream=False)

    async def stream(self, request: Request, route: Route) -> Encoded:
        """The answer as it grows. A refusal comes before the first event, with the status that it deserves."""
        return await self._answer(request, route, stream=True)

    async def _answer(self, request: Request, route: Route, *, stream: bool) -> Encoded:
        calls = self._calls
        principal = calls.admit(request, "generate", route.model)
        with calls.in_flight():
            body = await calls.body(request)
            served = calls.runtime.service.resolve(route.model or "", route.version, principal.tenant_id)
            asked = oip.decode_generate(request.headers, body, max_bytes=calls.max_body_bytes)
            answers = Answers(asked, served.spec.model, str(served.spec.version))
            if not generates(served.spec.manifest.engine):
                return await self._tensors(request, principal, served, body, asked, answers, stream=stream)
            generation = oip.generation_of(asked, served.spec.model, stream=stream)
            pieces = calls.generate(request, principal, served, body, generation, asked.timeout_us, streamed=stream)
            headers = [(b"x-request-id", wire.request_id(request.headers, new_id).encode())]
            if stream:
                first = await anext(pieces)
                return Encoded(200, [*oip.STREAM_HEADERS, *headers], stream=self._events(first, pieces, answers))
            async with aclosing(pieces):
                async for piece in pieces:
                    answers.add(piece)
            return oip.whole_reply(answers.whole(), headers)

    async def _tensors(
        self,
        request: Request,
        principal: Principal,
        served: Served,
        body: bytes | memoryview,
        asked: GenerateRequest,
        answers: Answers,
        *,
        stream: bool,
    ) -> Encoded:
        text = oip.tensors_of(asked, served.signature)
        decoded = oip.decode_infer(served.spec.model, served.signature, {}, text, max_bytes=self._calls.max_body_bytes)
        reply, headers = await self._calls.infer(
            request, principal, served, body, decoded.inputs, decoded.rows, asked.timeout_us
        )
        document = answers.tensors(reply)
        if not stream:
            return oip.whole_reply(document, headers)
        return Encoded(200, [*oip.STREAM_HEADERS, *headers], [oip.event(document)])

    async def _events(self, first: Piece, pieces: AsyncGenerator[Piece, None], answers: Answers) -> Stream:
        with self._calls.in_flight():
            async with aclosing(pieces):
                try:
                    yield answers.event(first)
                    async for piece in pieces:
                        yield answers.event(piece)
                except AirserveError as error:
                    yield oip.error_event(error)
