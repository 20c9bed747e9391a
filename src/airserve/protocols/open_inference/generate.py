"""The generate extension: `{"text_input": "…", "parameters": {…}}` in, `{"text_output": "…"}` out, whole or as events.

Source: Triton's extension_generate.md and the protocol's generate_rest.yaml. Sampling parameters have OpenAI's names
and bounds, as on /v1. A model of tensors takes its inputs by their names: a bare value is a tensor of one element.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from airserve.codecs.tensors import as_bytes
from airserve.core.call import Reply
from airserve.core.errors import AirserveError, InvalidInputError
from airserve.core.generation import Generation, Piece
from airserve.core.tensor import Signature, TensorSpec
from airserve.protocols.encoded import Encoded, Headers
from airserve.protocols.open_inference.checks import check_id, flag, refuse_reserved, timeout_us
from airserve.protocols.openai import decode_completion, read_document
from airserve.protocols.refusal import sentence_of

STREAM_HEADERS: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_DEFAULT_MAX_TOKENS = 20
_NOT_SAMPLING = ("timeout", "details", "stream")


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """What the client asks for: `inputs` by name, `text_input` among them, and `parameters`. `timeout_us` is its
    deadline in microseconds."""

    id: str
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    timeout_us: int | None


def decode_generate(headers: Mapping[bytes, bytes], body: bytes | memoryview, *, max_bytes: int) -> GenerateRequest:
    """The request in `body`, which may be compressed and then inflates to `max_bytes`."""
    document = read_document(headers, body, max_bytes=max_bytes)
    id_ = document.pop("id", "")
    parameters = document.pop("parameters", None) or {}
    if not isinstance(id_, str) or not isinstance(parameters, dict):
        raise InvalidInputError("'id' is a text and 'parameters' an object")
    refuse_reserved(parameters)
    return GenerateRequest(check_id(id_), document, parameters, timeout_us(parameters))


def generation_of(request: GenerateRequest, model: str, *, stream: bool) -> Generation:
    """What an engine that generates text is asked for. Raises `InvalidInputError` naming what it does not take."""
    inputs = dict(request.inputs)
    text = inputs.pop("text_input", None)
    if not isinstance(text, str):
        raise InvalidInputError(f"'text_input' is the text that model '{model}' goes on from")
    given = {**request.parameters, **inputs}
    if not stream and flag(given, "stream"):
        raise InvalidInputError(
            "generate expects model to produce exactly 1 response, use generate stream for model that generates "
            "various number of responses: 'stream' is true"
        )
    if given.get("n", 1) != 1:
        raise InvalidInputError("'n' is 1: one answer comes back")
    sampling = {name: value for name, value in given.items() if name not in _NOT_SAMPLING}
    sampling.setdefault("max_tokens", _DEFAULT_MAX_TOKENS)
    return decode_completion({**sampling, "model": model, "prompt": text}).generation


def tensors_of(request: GenerateRequest, signature: Signature) -> bytes:
    """The infer request, as JSON, that says the same to a model of tensors.

    `text_input` is the input of texts where the model has just one.
    """
    given = dict(request.inputs)
    texts = [spec for spec in signature.inputs if spec.datatype == "BYTES"]
    if "text_input" in given and len(texts) == 1:
        given.setdefault(texts[0].name, given.pop("text_input"))
    inputs = [_input(spec, given.pop(spec.name)) for spec in signature.inputs if spec.name in given]
    if given:
        raise InvalidInputError(f"unexpected inference input '{next(iter(given))[:80]}'")
    return msgspec.json.encode({"id": request.id, "parameters": request.parameters, "inputs": inputs})


def _input(spec: TensorSpec, value: Any) -> dict[str, Any]:
    values = value if isinstance(value, list) else [value]
    shape = [1] * (len(spec.shape) - 1) + [len(values)]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": values}


class Answers:
    """Writes what a model answers to one request. `details` adds why the text ended."""

    def __init__(self, request: GenerateRequest, model: str, version: str) -> None:
        self._details = flag(request.parameters, "details")
        self._frame: dict[str, Any] = {"id": request.id} if request.id else {}
        self._frame |= {"model_name": model, "model_version": version}
        self._texts: list[str] = []
        self._finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Take one piece of the whole text."""
        self._texts.append(_text(piece))
        self._finish_reason = _finish_reason(piece) or self._finish_reason

    def whole(self) -> dict[str, Any]:
        """All that was added, as one answer."""
        return self._document("".join(self._texts), self._finish_reason)

    def event(self, piece: Piece) -> bytes:
        """One piece, as an event; nothing where it brings no text and says nothing else."""
        text = _text(piece)
        if not text and not (piece.final and self._details):
            return b""
        return event(self._document(text, _finish_reason(piece)))

    def tensors(self, reply: Reply) -> dict[str, Any]:
        """The outputs of a model of tensors, by name; one of a single element without its brackets."""
        return {**self._frame, **{name: _plain(array, name) for name, array in reply.outputs.items()}}

    def _document(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        document = {**self._frame, "text_output": text}
        if self._details:
            document["details"] = {"finish_reason": finish_reason}
        return document


def event(document: Mapping[str, Any]) -> bytes:
    """A server-sent event. JSON holds no line breaks, so one `data:` line is enough."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def error_event(error: AirserveError) -> bytes:
    """A failure after the stream has begun; nothing follows it."""
    return event({"error": sentence_of(error), "code": error.code})


def whole_reply(document: Mapping[str, Any], headers: Headers) -> Encoded:
    """One answer as a response."""
    return Encoded(200, [(b"content-type", b"application/json"), *headers], [msgspec.json.encode(document)])


def _text(piece: Piece) -> str:
    return "".join(choice.get("text") or "" for choice in piece.choices)


def _finish_reason(piece: Piece) -> str | None:
    return next((choice["finish_reason"] for choice in piece.choices if choice.get("finish_reason")), None)


def _plain(array: np.ndarray[Any, Any], name: str) -> Any:
    if array.dtype.kind in "OSU":
        try:
            texts = [as_bytes(each).decode() for each in array.ravel()]
        except UnicodeDecodeError:
            raise InvalidInputError(f"output '{name}' is not UTF-8 text; call infer and ask for binary data") from None
        array = np.array(texts, dtype=object).reshape(array.shape)
    return array.ravel().tolist()[0] if array.size == 1 else array.tolist()
