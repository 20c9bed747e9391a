"""The client for threads. One client may be shared by many: it keeps a pool of connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
from airserve.client.link.caller import new_link_caller
from airserve.client.link.synchronous import LinkMethods
from airserve.client.pictures import OUTPUTS, Labels, parse_labels, picture_inputs
from airserve.client.streams import ChatStream
from airserve.client.transport import NETWORK_ERRORS, Pem, as_response, lower_headers, no_answer, open_transport
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError

if TYPE_CHECKING:
    from airserve.client.sealing import SealedInfer, SealedKeys

Result = TypeVar("Result")


class Client(LinkMethods):
    """`Client("https://host:8443", key).infer("digits", {"x": array})`.

    `http` chooses the protocol: "1.1", "2", "3", or "auto" (HTTP/2 where TLS offers it). `ca` is the certificate
    authority to trust, PEM or a path; `certificate` is the client's own and its key, for mutual TLS. `timeout_ms` is
    the budget of a call over all its attempts. A call is tried again, at most `retries` times and under the same call
    id, when the service is overloaded or cannot be reached.
    `sealed_identity` is whose keys sealed calls trust; without it, those of whoever answers first.

    With `adapt`, every `infer` and `classify` chooses codec, transport and place for the link as it is; without it,
    those do that are given a `deadline`, `accuracy`, `fallback`, `prefer` or `explain`. `cache` is the folder for what
    the device runs itself (the user's own without it); `seed` makes what is explored repeatable.
    """

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
        self._transport = open_transport(pyqwest.SyncHTTPTransport, http, ca, certificate)
        self._http = pyqwest.SyncClient(self._transport)
        self._last = threading.local()
        self._adapt = adapt
        super().__init__(partial(new_link_caller, self._settings, http, ca, certificate, cache, seed))

    @property
    def last(self) -> Timings | None:
        """The timings of this thread's last good call."""
        return getattr(self._last, "timings", None)

    def infer(
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
        """All outputs of `model`, or those named, as arrays (BYTES: object arrays of bytes).

        Raises the classes of `airserve.core.errors`: `InvalidInputError`, `MissingKeyError`, `NotFoundError`,
        `OverloadedError`, `DeadlineExceededError`, `UnreachableError` …

        Under an `idempotency_key` the service answers for a day as it did the first time, and charges once.

        A `sealed` call can be read by the model's own process alone, and its answer by this client alone.

        For the options of `link` see `airserve.client.link.ask.LinkOptions`; the `Answer` says what came of them.
        """
        if sealed:
            refuse_sealed_key(idempotency_key)
            refuse_sealed_link(link)
            call = new_sealed_infer(model, inputs, version, outputs, call_id)
            return Answer(self._attempt(call.request, timeout_ms, partial(self._send_sealed, call)))
        if self._adapt or link:
            answer = self._adapted(
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
            self._last.timings = answer.timings
            return answer
        request = keyed(new_infer_request(model, inputs, version, outputs, call_id), idempotency_key)
        return Answer(parse_outputs(self._call(request, timeout_ms)), Told(timings=self.last))

    @overload
    def chat(
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
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> ChatStream: ...

    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> ChatReply | ChatStream:
        """The model's answer to a conversation (or to a string): whole, or with `stream` piece by piece.

        `parameters` are those of OpenAI's API: `temperature`, `max_tokens`, `stop`, `seed`, `tools` …
        Raises what `infer` raises.
        """
        request = chat_request(model, messages, parameters, stream=stream, call_id=call_id or new_call_id())
        request = keyed(request, idempotency_key)
        if stream:
            return self._attempt(request, timeout_ms, self._open)
        return parse_chat(self._call(request, timeout_ms))

    def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        timeout_ms: float | None = None,
        call_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """The embeddings [n, d] of `texts`, in their order; of one text [1, d]. Raises what `infer` raises."""
        request = keyed(embed_request(model, texts, call_id or new_call_id()), idempotency_key)
        return parse_embeddings(self._call(request, timeout_ms))

    def classify(
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
        """What is on a picture (JPEG, PNG or WebP; bytes or a path): labels with probabilities, the best first.

        At most `k` of them, else as many as the model gives. Raises what `infer` raises.
        """
        inputs = picture_inputs(image)
        found = self.infer(
            model,
            inputs,
            outputs=OUTPUTS,
            timeout_ms=timeout_ms,
            call_id=call_id,
            idempotency_key=idempotency_key,
            **link,
        )
        return parse_labels(found, k)

    def metadata(self, model: str, *, version: str | None = None) -> dict[str, Any]:
        """Name, versions, inputs and outputs of a model."""
        document: dict[str, Any] = parse_json(self._call(HttpRequest("GET", model_path(model, version), {})).body)
        return document

    def ready(self, model: str | None = None) -> bool:
        """Whether the service, or one model of it, takes calls now."""
        path = "/v2/health/ready" if model is None else f"{model_path(model)}/ready"
        try:
            self._call(HttpRequest("GET", path, {}))
        except AirserveError:
            return False
        return True

    def _call(self, request: HttpRequest, timeout_ms: float | None = None) -> HttpResponse:
        return self._attempt(request, timeout_ms, self._send)

    def _attempt(
        self,
        request: HttpRequest,
        timeout_ms: float | None,
        send: Callable[[HttpRequest, dict[str, str], float | None], tuple[HttpResponse, Result]],
    ) -> Result:
        """What `send` makes of the answer, after as many attempts as it takes and may take."""
        call = CallInProgress(self._settings, request, timeout_ms, time.monotonic())
        while True:
            headers, timeout_s = call.send(time.monotonic())
            try:
                response, result = send(request, headers, timeout_s)
                self._last.timings = call.received(response, time.monotonic())
                return result
            except AirserveError as error:
                time.sleep(call.pause(error, time.monotonic()))

    def _send(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, HttpResponse]:
        url = self._settings.url + request.path
        try:
            if request.method == "GET":
                response = as_response(self._http.get(url, headers, timeout=timeout_s))
            else:
                response = as_response(self._http.post(url, headers, request.body, timeout=timeout_s))
        except NETWORK_ERRORS as error:
            raise no_answer(self._settings.url, error, timeout_s) from error
        return response, response

    def _send_sealed(
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
            response, _ = self._send(request, headers, left_s)
            try:
                request = steps.send(response)
            except StopIteration as done:
                return response, done.value

    def _open(
        self, request: HttpRequest, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[HttpResponse, ChatStream]:
        """Send a request and leave its answer to be read as it comes."""
        url = self._settings.url
        try:
            opened = self._http.stream(request.method, url + request.path, headers, request.body, timeout=timeout_s)
            response = opened.__enter__()
            head = HttpResponse(response.status, lower_headers(response.headers), b"")
            if head.status != 200:
                with response:
                    raise_for(replace(head, body=b"".join(map(bytes, response.content))))
        except NETWORK_ERRORS as error:
            raise no_answer(url, error, timeout_s) from error
        return head, ChatStream(opened, response, lambda error: no_answer(url, error, timeout_s))

    def close(self) -> None:
        """Close the connections."""
        self._close_link()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
