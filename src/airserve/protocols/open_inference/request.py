"""An infer request: bytes -> tensors that are views of them, checked against the model's signature.

Source: inference_rest.md and extension_binary_data.md of the Open Inference Protocol; where they leave a wording or a
corner open, Triton's (http_server.cc), because clients look for it. Every refusal is an `InvalidInputError` (400)
unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from airserve.codecs.compression import inflate
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature
from airserve.protocols.content_coding import preferred_coding
from airserve.protocols.open_inference.checks import (
    NO_SHARED_MEMORY,
    SHARED_MEMORY,
    check_all_given,
    check_id,
    check_input,
    check_output,
    count_rows,
    flag,
    refuse_reserved,
    spec_of,
    timeout_us,
)
from airserve.protocols.open_inference.document import Document, Input, parse_document
from airserve.protocols.open_inference.json_data import from_json
from airserve.protocols.open_inference.raw import raw_request, raw_tensor

_NOTHING: Mapping[str, Any] = {}
_REMEMBER_UP_TO = 1 << 10


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output that the client names, whether it comes back as raw bytes, and as its how many highest `classes`.

    0 classes are the tensor itself.
    """

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What the client asks for. `outputs` empty means all, then as raw bytes if `binary_default`.

    `timeout_us` is the protocol's own deadline in microseconds; `reply_coding` the content coding that the client
    prefers for the reply, None for as it is; `batched` whether the first axis of the outputs counts rows.
    """

    id: str
    inputs: Tensors
    rows: int
    outputs: tuple[RequestedOutput, ...] = ()
    binary_default: bool = False
    timeout_us: int | None = None
    reply_coding: str | None = None
    batched: bool = False


def decode_infer(
    model: str, signature: Signature, headers: Mapping[bytes, bytes], body: bytes | memoryview, *, max_bytes: int
) -> InferRequest:
    """The request in `body`; a compressed body may inflate to `max_bytes`."""
    coding = headers.get(b"content-encoding")
    if coding is not None:
        body = inflate(body, coding.decode("latin-1"), max_bytes)
    accepted = headers.get(b"accept-encoding")
    reply_coding = preferred_coding(accepted) if accepted is not None else None
    header = headers.get(b"inference-header-content-length")
    if header is None:
        asked, tail = _read(model, signature, memoryview(body), 0), memoryview(b"")
    else:
        length = int(header) if header.isdigit() and len(header) < 20 else -1
        if not 0 <= length <= len(body):
            raise InvalidInputError(
                f"inference header size should be in range (0, {len(body)}), got: {header[:20].decode('latin-1')}"
            )
        if length == 0:
            inputs, rows = raw_request(model, signature, body)
            return InferRequest("", inputs, rows, binary_default=True, reply_coding=reply_coding)
        view = memoryview(body)
        json_part, tail = view[:length], view[length:]
        read = _read if length > _REMEMBER_UP_TO else _read_again
        asked = read(model, signature, bytes(json_part), len(tail))
    return InferRequest(
        id=asked.id,
        inputs={given.name: _tensor(model, given, tail, at) for given, at in asked.inputs},
        rows=asked.rows,
        outputs=asked.outputs,
        binary_default=asked.binary_default,
        timeout_us=asked.timeout_us,
        reply_coding=reply_coding,
        batched=signature.max_batch > 0,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The JSON part of a request, checked against the signature. Beside each input stands where its raw data lies,
    None where they are in JSON."""

    id: str
    inputs: list[tuple[Input, slice | None]]
    rows: int
    outputs: tuple[RequestedOutput, ...]
    binary_default: bool
    timeout_us: int | None


def _read(model: str, signature: Signature, json_part: bytes | memoryview, tail_size: int) -> _Asked:
    document = parse_document(json_part)
    refuse_reserved(document.parameters or _NOTHING)
    inputs = _inputs(model, signature, document, tail_size)
    return _Asked(
        id=check_id(document.id),
        inputs=inputs,
        rows=count_rows(model, signature, [given.shape for given, _ in inputs]),
        outputs=_outputs(model, signature, document),
        binary_default=flag(document.parameters, "binary_data_output"),
        timeout_us=timeout_us(document.parameters or _NOTHING),
    )


# A client that sends its tensors as raw bytes says the same of them in every call.
_read_again = lru_cache(maxsize=1024)(_read)


def _inputs(model: str, signature: Signature, document: Document, tail_size: int) -> list[tuple[Input, slice | None]]:
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, tuple[Input, slice | None]] = {}
    offset = 0
    for given in document.inputs:
        name = given.name
        spec = spec_of(model, specs, name, inputs)
        size = _binary_size(given)
        check_input(model, spec, given.datatype, given.shape)
        if size is None:
            inputs[name] = (given, None)
            continue
        if size > tail_size - offset:
            missing = size - (tail_size - offset)
            raise InvalidInputError(
                f"unexpected size for input '{name}', expecting {missing} additional bytes for model '{model}'"
            )
        inputs[name] = (given, slice(offset, offset + size))
        offset += size
    if offset != tail_size:
        raise InvalidInputError(f"unexpected additional input data for model '{model}'")
    check_all_given(model, list(specs), list(inputs))
    return list(inputs.values())


def _tensor(model: str, given: Input, tail: memoryview, at: slice | None) -> Array:
    if at is None:
        return from_json(given.data, given.datatype, given.shape, given.name)
    return raw_tensor(model, tail[at], given.datatype, given.shape, given.name)


def _binary_size(given: Input) -> int | None:
    """The size of a binary input, None for one in JSON; exactly one of the three ways is allowed."""
    parameters = given.parameters or _NOTHING
    size = parameters.get("binary_data_size")
    ways = given.has_data + (size is not None) + (SHARED_MEMORY in parameters)
    if ways != 1:
        raise InvalidInputError(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. But input '{given.name}' sets {ways or 'none'} of them"
        )
    if SHARED_MEMORY in parameters:
        raise NotImplementedHereError(NO_SHARED_MEMORY)
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidInputError(f"'binary_data_size' of input '{given.name}' is a number of bytes, 0 or more")
    return size


def _outputs(model: str, signature: Signature, document: Document) -> tuple[RequestedOutput, ...]:
    specs = {spec.name: spec for spec in signature.outputs}
    outputs: dict[str, RequestedOutput] = {}
    for asked in document.outputs or ():
        parameters = asked.parameters or _NOTHING
        classes = check_output(model, signature, asked.name, parameters, outputs)
        outputs[asked.name] = RequestedOutput(asked.name, flag(parameters, "binary_data"), classes)
    binary = flag(document.parameters, "binary_data_output")
    for name, is_text in [(each.name, not each.binary and not each.classes) for each in outputs.values()] or [
        (name, not binary) for name in specs
    ]:
        # Refused before anything is computed, and paid for.
        if specs[name].datatype == "FP16" and is_text:
            raise InvalidInputError(
                f"sending FP16 data via JSON is not supported. Please use the binary data format for output {name}"
            )
    return tuple(outputs.values())
