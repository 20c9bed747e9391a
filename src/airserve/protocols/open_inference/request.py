"""An infer request: bytes -> tensors that are views of them, checked against the model's signature.

Source: inference_rest.md and extension_binary_data.md of the Open Inference Protocol; where they leave a wording or a
corner open, Triton's (http_server.cc), because clients look for it. Every refusal is an `InvalidInputError` (400)
unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from airserve.codecs.compression import inflate
from airserve.codecs.tensors import from_raw
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature, TensorSpec, element_count
from airserve.protocols.content_coding import preferred_coding
from airserve.protocols.open_inference.document import Document, Input, Parameters, parse_document
from airserve.protocols.open_inference.json_data import from_json
from airserve.protocols.open_inference.raw import raw_request

_NOTHING: Mapping[str, Any] = {}
_SHARED_MEMORY = "shared_memory_region"
_REMEMBER_UP_TO = 1 << 10


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output that the client names, and whether it comes back as raw bytes."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What the client asks for. `outputs` empty means all, then as raw bytes if `binary_default`.

    `timeout_us` is the protocol's own deadline in microseconds; `reply_coding` the content coding that the client
    prefers for the reply, None for as it is.
    """

    id: str
    inputs: Tensors
    rows: int
    outputs: tuple[RequestedOutput, ...] = ()
    binary_default: bool = False
    timeout_us: int | None = None
    reply_coding: str | None = None


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
    _refuse_reserved(document.parameters or _NOTHING)
    inputs = _inputs(model, signature, document, tail_size)
    return _Asked(
        id=document.id,
        inputs=inputs,
        rows=_rows(model, signature, inputs),
        outputs=_outputs(model, signature, document),
        binary_default=_flag(document.parameters, "binary_data_output"),
        timeout_us=_timeout_us(document.parameters or _NOTHING),
    )


# A client that sends its tensors as raw bytes says the same of them in every call.
_read_again = lru_cache(maxsize=1024)(_read)


def _inputs(model: str, signature: Signature, document: Document, tail_size: int) -> list[tuple[Input, slice | None]]:
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, tuple[Input, slice | None]] = {}
    offset = 0
    for given in document.inputs:
        name = given.name
        if name not in specs:
            raise InvalidInputError(f"unexpected inference input '{name[:80]}' for model '{model}'")
        if name in inputs:
            raise InvalidInputError(f"inference input '{name}' is given twice for model '{model}'")
        size = _binary_size(given)
        _check(model, given, specs[name])
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
    if len(inputs) != len(specs):
        raise InvalidInputError(_missing(model, list(specs), list(inputs)))
    return list(inputs.values())


def _tensor(model: str, given: Input, tail: memoryview, at: slice | None) -> Array:
    if at is None:
        return from_json(given.data, given.datatype, given.shape, given.name)
    return _binary(model, given, tail[at])


def _binary(model: str, given: Input, data: memoryview) -> Array:
    try:
        return from_raw(data, given.datatype, given.shape, given.name)
    except InvalidInputError as error:
        where = f"for input '{given.name}'"
        raise InvalidInputError(error.message.replace(where, f"{where} for model '{model}'", 1)) from None


def _binary_size(given: Input) -> int | None:
    """The size of a binary input, None for one in JSON; exactly one of the three ways is allowed."""
    parameters = given.parameters or _NOTHING
    size = parameters.get("binary_data_size")
    ways = given.has_data + (size is not None) + (_SHARED_MEMORY in parameters)
    if ways != 1:
        raise InvalidInputError(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. But input '{given.name}' sets {ways or 'none'} of them"
        )
    if _SHARED_MEMORY in parameters:
        raise NotImplementedHereError("shared memory is not offered: tenants share this machine; send the data itself")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidInputError(f"'binary_data_size' of input '{given.name}' is a number of bytes, 0 or more")
    return size


def _check(model: str, given: Input, spec: TensorSpec) -> None:
    if given.datatype != spec.datatype:
        raise InvalidInputError(
            f"inference input '{spec.name}' data-type is '{given.datatype[:20]}', but model '{model}' "
            f"expects '{spec.datatype}'"
        )
    # A wrong rank is refused before any product of its sizes, which a hostile shape makes expensive.
    if len(given.shape) == len(spec.shape):
        element_count(given.shape, spec.name)
    if not spec.accepts(given.shape):
        raise InvalidInputError(
            f"unexpected shape for input '{spec.name}' for model '{model}'. "
            f"Expected {_compact(spec.shape)}, got {_compact(given.shape[:16])}"
        )


def _rows(model: str, signature: Signature, inputs: list[tuple[Input, slice | None]]) -> int:
    if not signature.max_batch:
        return 1
    rows = {given.shape[0] for given, _ in inputs}
    if len(rows) != 1:
        raise InvalidInputError(f"the inputs of model '{model}' have different batch sizes: {sorted(rows)}")
    (count,) = rows
    if not 1 <= count <= signature.max_batch:
        bound = f"<= {signature.max_batch}" if count else ">= 1"
        raise InvalidInputError(f"inference request batch-size must be {bound} for '{model}'")
    return count


def _outputs(model: str, signature: Signature, document: Document) -> tuple[RequestedOutput, ...]:
    specs = {spec.name: spec for spec in signature.outputs}
    outputs: dict[str, RequestedOutput] = {}
    for asked in document.outputs or ():
        if asked.name not in specs:
            raise InvalidInputError(f"unexpected inference output '{asked.name[:80]}' for model '{model}'")
        if asked.name in outputs:
            raise InvalidInputError(f"inference output '{asked.name}' is asked for twice for model '{model}'")
        parameters = asked.parameters or _NOTHING
        if "classification" in parameters or _SHARED_MEMORY in parameters:
            raise NotImplementedHereError("'classification' and shared memory outputs are not offered by this server")
        outputs[asked.name] = RequestedOutput(asked.name, _flag(parameters, "binary_data"))
    binary = _flag(document.parameters, "binary_data_output")
    for name, is_binary in [(each.name, each.binary) for each in outputs.values()] or [
        (name, binary) for name in specs
    ]:
        # Refused before anything is computed, and paid for.
        if specs[name].datatype == "FP16" and not is_binary:
            raise InvalidInputError(
                f"sending FP16 data via JSON is not supported. Please use the binary data format for output {name}"
            )
    return tuple(outputs.values())


def _refuse_reserved(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if name.startswith("triton_"):
            raise InvalidInputError(f"parameter '{name[:80]}' is reserved and may not be set by clients")
    if parameters.get("sequence_id") or parameters.get("sequence_start") or parameters.get("sequence_end"):
        raise InvalidInputError("sequences are not offered: no model here keeps state between calls")


def _timeout_us(parameters: Mapping[str, Any]) -> int | None:
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 <= timeout < 1 << 53:
        raise InvalidInputError("parameter 'timeout' is an integer number of microseconds")
    return timeout


def _flag(parameters: Parameters | Mapping[str, Any] | None, name: str) -> bool:
    value = (parameters or _NOTHING).get(name, False)
    if not isinstance(value, bool):
        raise InvalidInputError(f"parameter '{name}' is true or false")
    return value


def _missing(model: str, wanted: list[str], got: list[str]) -> str:
    missing = [name for name in wanted if name not in got]
    return (
        f"expected {len(wanted)} inputs but got {len(got)} inputs for model '{model}'. Got input(s) {got}, "
        f"but missing required input(s) {missing}. Please provide all required input(s)."
    )


def _compact(shape: Sequence[int]) -> str:
    text = "[" + ",".join(map(str, shape)) + "]"
    return text if len(text) <= 120 else text[:117] + "..."
