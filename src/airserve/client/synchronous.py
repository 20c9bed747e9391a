"""The client for threads. One client may be shared by many: it keeps a pool of connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

import numpy as np
import numpy.typing as npt
import pyqwest

from airserve.client.attempts import Attempts
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
from airserve.client.link.caller import new_link_caller
from airserve.client.link.synchronous import LinkMethods
from airserve.client.pictures import OUTPUTS, Labels, parse_labels, picture_inputs
from airserve.client.session.line import Ways
from airserve.client.session.opening import new_engine
from airserve.client.session.options import SessionOptions, new_session_ask
from airserve.client.session.synchronous import OnAnswer, Session
from airserve.client.streams import ChatStream
from airserve.client.transport import Pem, open_transport
from airserve.core.errors import AirserveError

if TYPE_CHECKING:
    pass

Result = TypeVar("Result")


class Client(LinkMethods, Attempts):
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
        settings = Settings(check_url(url, http), key, timeout_ms, retries)
        Attempts.__init__(
            self, settings, open_transport(pyqwest.SyncHTTPTransport, http, ca, certificate), sealed_identity
        )
        LinkMethods.__init__(self, partial(new_link_caller, settings, http, ca, certificate, cache, seed))
        self._adapt = adapt
        self._ways = Ways(self._settings.url, http, ca, certificate)

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
        variant: str | None = None,
        min_accuracy: float | None = None,
        **link: Unpack[LinkOptions],
    ) -> Answer:
        """All outputs of `model`, or those named, as arrays (BYTES: object arrays of bytes).

        Raises the classes of `airserve.core.errors`: `InvalidInputError`, `MissingKeyError`, `NotFoundError`,
        `OverloadedError`, `DeadlineExceededError`, `UnreachableError` …

        Under an `idempotency_key` the service answers for a day as it did the first time, and charges once.

        Where the service has several variants of a model, `variant` names the one that answers, and `min_accuracy` is
        the least accuracy of those that may; the answer says which did.

        A `sealed` call can be read by the model's own process alone, and its answer by this client alone.

        For the options of `link` see `airserve.client.link.ask.LinkOptions`; the `Answer` says what came of them.
        """
        if sealed:
            refuse_sealed_key(idempotency_key)
            refuse_sealed_link(link)
            refuse_sealed_variant(variant, min_accuracy)
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
                    variant,
                    min_accuracy,
                )
            )
            self._last.timings = answer.timings
            return answer
        request = keyed(new_infer_request(model, inputs, version, outputs, call_id), idempotency_key)
        response = self._call(of_variant(request, variant, min_accuracy), timeout_ms)
        return Answer(parse_outputs(response), told_of(response, self.last))

    def session(self, model: str, *, on_answer: OnAnswer | None = None, **options: Unpack[SessionOptions]) -> Session:
        """Frames of a camera or a sensor: give them as they come, read the answers as they come.

        `with client.session("digits", deadline=0.5, rate=20) as session: session.send({"x": frame})`.
        Frames never wait for the network: the newest replaces the one that waits, what is under way is bounded by what
        the link carries, codecs change with it, and where it was lost, another connection carries on.
        For the options see `airserve.client.session.options.SessionOptions`. Raises what `infer` raises.
        """
        thread, caller = self._link_caller()
        ask = new_session_ask(model, options)
        return Session(thread, partial(new_engine, self._settings, self._ways, ask, caller), on_answer)

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
