"""The client for event loops; the same as `Client`, awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

import numpy as np
import numpy.typing as npt
import pyqwest

from airserve.client.async_attempts import AsyncAttempts
from airserve.client.calls import (
    Settings,
    keyed,
    new_call_id,
    new_infer_request,
    new_sealed_infer,
    of_variant,
    refuse_sealed_key,
    refuse_sealed_variant,
)
from airserve.client.chat import ChatReply, Messages, chat_request, parse_chat
from airserve.client.embeddings import embed_request, parse_embeddings
from airserve.client.exchange import (
    HttpRequest,
    check_url,
    model_path,
    parse_json,
    parse_outputs,
)
from airserve.client.link.answer import Answer, told_of
from airserve.client.link.ask import LinkOptions, new_ask, refuse_sealed_link
from airserve.client.link.asynchronous import AsyncLinkMethods
from airserve.client.link.caller import new_link_caller
from airserve.client.pictures import OUTPUTS, Labels, parse_labels, picture_inputs
from airserve.client.session.asynchronous import AsyncSession
from airserve.client.session.line import Ways
from airserve.client.session.opening import new_engine
from airserve.client.session.options import SessionOptions, new_session_ask
from airserve.client.streams import AsyncChatStream
from airserve.client.transport import Pem, open_transport
from airserve.core.errors import AirserveError

if TYPE_CHECKING:
    pass

Result = TypeVar("Result")


class AsyncClient(AsyncLinkMethods, AsyncAttempts):
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
        settings = Settings(check_url(url, http), key, timeout_ms, retries)
        AsyncAttempts.__init__(
            self, settings, open_transport(pyqwest.HTTPTransport, http, ca, certificate), sealed_identity
        )
        AsyncLinkMethods.__init__(self, partial(new_link_caller, settings, http, ca, certificate, cache, seed))
        self._adapt = adapt
        self._ways = Ways(self._settings.url, http, ca, certificate)

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
        variant: str | None = None,
        min_accuracy: float | None = None,
        **link: Unpack[LinkOptions],
    ) -> Answer:
        """See `Client.infer`."""
        if sealed:
            refuse_sealed_key(idempotency_key)
            refuse_sealed_link(link)
            refuse_sealed_variant(variant, min_accuracy)
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
                    variant,
                    min_accuracy,
                )
            )
            self._last.set(answer.timings)
            return answer
        request = keyed(new_infer_request(model, inputs, version, outputs, call_id), idempotency_key)
        response = await self._call(of_variant(request, variant, min_accuracy), timeout_ms)
        return Answer(parse_outputs(response), told_of(response, self.last))

    def session(self, model: str, **options: Unpack[SessionOptions]) -> AsyncSession:
        """See `Client.session`: `async with client.session("digits") as session`."""
        ask = new_session_ask(model, options)
        return AsyncSession(partial(new_engine, self._settings, self._ways, ask, self._link_caller()))

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
