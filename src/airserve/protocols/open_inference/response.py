"""A reply, or a refusal, as bytes. Source: inference_rest.md and extension_binary_data.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from airserve.codecs.compression import deflate
from airserve.codecs.frame import encode
from airserve.codecs.tensors import as_bytes, to_raw
from airserve.core.call import Array, Reply
from airserve.core.errors import AirserveError, InvalidInputError
from airserve.core.tensor import datatype_of
from airserve.protocols.encoded import Encoded, Headers
from airserve.protocols.open_inference.classification import classify
from airserve.protocols.open_inference.request import InferRequest, RequestedOutput
from airserve.protocols.refusal import headers_of, sentence_of

_JOIN_BELOW = 64 << 10
_COMPRESS_FROM = 1 << 10
_encode_json = msgspec.json.Encoder().encode


def encode_infer(
    request: InferRequest,
    reply: Reply,
    extra_headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    labels: Sequence[str] = (),
) -> Encoded:
    """The response to `request`: JSON, or JSON followed by raw tensors in the order of `outputs`.

    `labels` name the values of an output that is asked for as classes.

    Raises `InvalidInputError` where an output cannot be written as JSON and was not asked for as binary.
    """
    tensors: list[dict[str, Any]] = []
    raws: list[bytes | memoryview] = []
    wanted = request.outputs or [RequestedOutput(name, request.binary_default) for name in reply.outputs]
    for output in wanted:
        array = reply.outputs[output.name]
        if output.classes:
            array = classify(array, output.classes, labels, name=output.name, batched=request.batched)
        head: dict[str, Any] = {"name": output.name, "datatype": datatype_of(array), "shape": array.shape}
        if output.codec is not None:
            frame = encode(array, output.codec)
            head["parameters"] = {"binary_data_size": len(frame), "codec": output.codec}
            raws.append(frame)
        elif output.binary:
            raw = to_raw(array)
            head["parameters"] = {"binary_data_size": len(raw)}
            raws.append(raw)
        else:
            head["data"] = _json_data(array, output.name)
        tensors.append(head)
    document: dict[str, Any] = {"model_name": reply.model, "model_version": reply.version, "outputs": tensors}
    if request.id:
        document["id"] = request.id
    if reply.variant:
        document["parameters"] = {"variant": reply.variant, "accuracy": reply.accuracy}
    return _assemble(_as_json(document, reply, tensors), raws, extra_headers, request.reply_coding)


def render_error(error: AirserveError) -> Encoded:
    """`{"error": "…"}` as clients of the protocol read it, with our stable code beside."""
    body = _encode_json({"error": sentence_of(error), "code": error.code})
    headers = [(b"content-type", b"application/json"), *headers_of(error)]
    if error.http_status == 415:
        headers.append((b"accept-encoding", b"gzip, deflate"))
    return Encoded(error.http_status, headers, [body])


def _assemble(
    document: bytes, raws: list[bytes | memoryview], extra_headers: Iterable[tuple[bytes, bytes]], coding: str | None
) -> Encoded:
    size = sum(map(len, raws))
    if not size:
        return _json_reply(document, extra_headers, coding)
    headers: Headers = [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"%d" % len(document)),
        *extra_headers,
    ]
    if size < _JOIN_BELOW:
        # A second message to the front costs more than copying a little.
        return Encoded(200, headers, [b"".join((document, *raws))])
    return Encoded(200, headers, [document, *raws])


def _json_reply(document: bytes, extra_headers: Iterable[tuple[bytes, bytes]], coding: str | None) -> Encoded:
    """JSON is compressed for who asks; raw tensors never are: floats hardly shrink, and cost milliseconds to try."""
    headers: Headers = [(b"content-type", b"application/json")]
    if coding is not None and len(document) >= _COMPRESS_FROM:
        document = deflate([document], coding)
        headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
    return Encoded(200, [*headers, *extra_headers], [document])


def _as_json(document: dict[str, Any], reply: Reply, tensors: list[dict[str, Any]]) -> bytes:
    for tensor in tensors:
        array = reply.outputs[tensor["name"]]
        if "data" in tensor and array.dtype.kind == "f" and not np.isfinite(array).all():
            # The protocol's clients read the bare tokens NaN and Infinity, which strict encoders turn into null.
            return json.dumps(document).encode()
    return _encode_json(document)


def _json_data(array: Array, name: str) -> Any:
    kind = array.dtype.kind
    if kind in "OSU":
        return [_text(element, name) for element in array.ravel()]
    if kind == "f" and array.dtype.itemsize == 2:
        raise InvalidInputError(
            f"sending FP16 data via JSON is not supported. Please use the binary data format for output {name}"
        )
    return array.ravel().tolist()


def _text(element: object, name: str) -> str:
    try:
        return as_bytes(element).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"output '{name}' is not UTF-8 text; ask for it as binary data") from None
