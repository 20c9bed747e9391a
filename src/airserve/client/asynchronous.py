"""The client for event loops; the same as `Client`, awaited."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

import numpy as np
import numpy.typing as npt
import pyqwest

from airserve.client.calls import (
    CallInProgress,
    Settings,
    keyed,
    new_call_id,
    new_infer_request,
    new_sealed_infer,
    new_sealed_keys,
    refuse_sealed_key,
)
from airserve.client.chat import ChatReply, Messages, chat_request, parse_chat
from airserve.client.embeddings import embed_request, parse_embeddings
from airserve.client.exchange import (
    HttpRequest,
    HttpResponse,
    Timings,
    check_url,
    model_path,
    parse_json,
    parse_outputs,
    raise_for,
)
from airserve.client.link.answer import Answer, Told
from airserve.client.link.ask import LinkOptions, new_ask, refuse_sealed_link
from airserve.client.link.asynchronous import AsyncLinkMethods
from airserve.client.link.caller import new_link_caller
from airserve.client.pictures import OUTPUTS, Labels, parse_labels, picture_inputs
from airserve.client.streams import AsyncChatStream
from airserve.client.transport import NETWORK_ERRORS, Pem, as_response, lower_headers, no_answer, open_transport
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError

if TYPE_CHECKING:
    from airserve.client.sealing import SealedInfer, SealedKeys

Result = TypeVar("Result")


class AsyncClient(AsyncLinkMethods):
    """Like `Client`, for asyncio; one client serves any number of calls at once on one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        ca: Pem | None = None,
        certificate: tuple[Pem, Pem] | None = None,
        http: Literal["auto", "1.1", "2", "3"] = "auto",
        timeout_ms: float | None = None,
        retries: int = 2,
        sealed_identity: str | None = None,
        adapt: bool = False,
        cache: Path | None = None,
        seed: int | None = None,
    ) -> None:
        self._settings = Settings(check_url(url, http), key, timeout_ms, retries)
        self._sealed_identity = sealed_identity
        self._sealed_keys: SealedKeys | None = None
        self._transport = open_transport(pyqwest.HTTPTransport, http, ca, certificate)
        self._http = pyqwest.Client(self._transport)
        self._last: contextvars.ContextVar[Timings | None] = contextvars.ContextVar("last", default=None)
        self._adapt = adapt
        super().__init__(partial(new_link_caller, self._settings, http, ca, certificate, cache, seed))

    @property
    def last(self) -> Timings | None:
        """The timings of this task's last good call."""
        return self._last.get()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        sealed: bool = False,
        **link: Unpack[LinkOptions],
    ) -> Answer:
        """See `Client.infer`."""
        if sealed:
            refuse_sealed_key(idempotency_key)
            refuse_sealed_link(link)
            call = new_sealed_infer(model, inputs, version, outputs, call_id)
            return Answer(await self._attempt(call.request, timeout_ms, partial(self._send_sealed, call)))
        if self._adapt or link:
            answer = await self._adapted(
                new_ask(
                    model,
                    inputs,
                    version,
                    outputs,
                    timeout_ms or self._settings.timeout_ms,
                    call_id,
                    idempotency_key,
                    link,
                )
            )
            self._last.set(answer.timings)
            return answer
        request = keyed(new_infer_request(model, inputs, version, outputs, call_id), idempotency_key)
        return Answer(parse_outputs(await self._call(request, timeout_ms)), Told(timings=self.last))

    @overload
    async def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> ChatReply: ...

    @overload
    async def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> AsyncChatStream: ...

    async def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> ChatReply | AsyncChatStream:
        """See `Client.chat`."""
        request = chat_request(model, messages, parameters, stream=stream, call_id=call_id or new_call_id())
        request = keyed(request, idempotency_key)
        if stream:
            return await self._attempt(request, timeout_ms, self._open)
        return parse_chat(await self._call(request, timeout_ms))

    async def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """See `Client.embed`."""
        request = keyed(embed_request(model, texts, call_id or new_call_id()), idempotency_key)
        return parse_embeddings(await self._call(request, timeout_ms))

    async def classify(
        self,
        model: str,
        image: bytes | str | Path,
        k: int | None = None,
        *,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **link: Unpack[LinkOptions],
    ) -> Labels:
        """See `Client.classify`."""
        inputs = picture_inputs(image)
        outputs = await self.infer(
            model,
            inputs,
            outputs=OUTPUTS,
            timeout_ms=timeout_ms,
            call_id=call_id,
            idempotency_key=idempotency_key,
            **link,
        )
        return parse_labels(outputs, k)

    async def metadata(self, model: str, *, version: str | None = None) -> dict[str, Any]:
        """Name, versions, inputs and outputs of a model."""
        response = await self._call(HttpRequest("GET", model_path(model, version), {}))
        document: dict[str, Any] = parse_json(response.body)
        return document

    async def ready(self, model: str | None = None) -> bool:
        """Whether the service, or one model of it, takes calls now."""
        path = "/v2/health/ready" if model is None else f"{model_path(model)}/ready"
        try:
            await self._call(HttpRequest("GET", path, {}))
        except AirserveError:
            return False
        return True

    async def _call(self, request: HttpRequest, timeout_ms: float | None = None) -> HttpResponse:
        return await self._attempt(request, timeout_ms, self._send)

    async def _attempt(
        self,
        request: HttpRequest,
        timeout_ms: float | None,
        send: Callable[[HttpRequest, dict[str, str], float | None], Awaitable[tuple[HttpResponse, Result]]],
    ) -> Result:
        """What `send` makes of the answer, after as many attempts as it takes and may take."""
        call = CallInProgress(self._settings, request, timeout_ms, time.monotonic())
        while True:
            headers, timeout_s = call.send(time.monotonic())
            try:
                response, result = await send(request, headers, timeout_s)
                self._last.set(call.received(response, time.monotonic()))
                return result
            except AirserveError as error:
                await asyncio.sleep(call.pause(error, time.monotonic()))

    async def _send(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, HttpResponse]:
        url = self._settings.url + request.path
        try:
            async with asyncio.timeout(timeout_s):
                if request.method == "GET":
                    response = as_response(await self._http.get(url, headers))
                else:
                    response = as_response(await self._http.post(url, headers, request.body))
        except NETWORK_ERRORS as error:
            raise no_answer(self._settings.url, error, timeout_s) from error
        return response, response

    async def _send_sealed(
        self, call: SealedInfer, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, Tensors]:
        """One attempt at a sealed call, which may have to fetch the key first."""
        if self._sealed_keys is None:
            self._sealed_keys = new_sealed_keys(self._sealed_identity)
        steps = call.steps(self._sealed_keys)
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        request = next(steps)
        while True:
            left_s = None if ends_at is None else max(0.001, ends_at - time.monotonic())
            headers = self._settings.headers(request, None if left_s is None else left_s * 1000)
            response, _ = await self._send(request, headers, left_s)
            try:
                request = steps.send(response)
            except StopIteration as done:
                return response, done.value

    async def _open(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, AsyncChatStream]:
        """Send a request and leave its answer to be read as it comes."""
        url = self._settings.url
        ends_at = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(ends_at):
                opened = self._http.stream(request.method, url + request.path, headers, request.body)
                response = await opened.__aenter__()
                head = HttpResponse(response.status, lower_headers(response.headers), b"")
                if head.status != 200:
                    async with response:
                        raise_for(replace(head, body=b"".join([bytes(part) async for part in response.content])))
        except NETWORK_ERRORS as error:
            raise no_answer(url, error, timeout_s) from error
        return head, AsyncChatStream(opened, response, lambda error: no_answer(url, error, timeout_s), ends_at)

    async def close(self) -> None:
        """Close the connections."""
        await self._close_link()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
