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
from airserve.core.call import Array, Tensors, VariantAsked
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature, TensorSpec
from airserve.models.manifest import CodecEntry
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
    variant_asked,
)
from airserve.protocols.open_inference.coded import Coded, check_accepted, check_size, codec_asked, coded_input
from airserve.protocols.open_inference.digests import NO_INPUTS, Inputs, digest_asked
from airserve.protocols.open_inference.document import Document, Input, parse_document
from airserve.protocols.open_inference.json_data import from_json
from airserve.protocols.open_inference.raw import raw_request, raw_tensor

_NOTHING: Mapping[str, Any] = {}
_REMEMBER_UP_TO = 1 << 10


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output that the client names, whether it comes back as raw bytes, and as its how many highest `classes`.

    0 classes are the tensor itself. With a `codec` its bytes are a frame.
    """

    name: str
    binary: bool
    classes: int = 0
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What the client asks for. `outputs` empty means all, then as raw bytes if `binary_default`.

    `coded` are inputs that came as frames, and are not among `inputs` before somebody opens them.

    `timeout_us` is the protocol's own deadline in microseconds, `asked` what its parameters want of the variant that
    answers; `reply_coding` the content coding that the client prefers for the reply, None for as it is; `batched`
    whether the first axis of the outputs counts rows.
    """

    id: str
    inputs: Tensors
    rows: int
    outputs: tuple[RequestedOutput, ...] = ()
    binary_default: bool = False
    timeout_us: int | None = None
    reply_coding: str | None = None
    batched: bool = False
    coded: tuple[Coded, ...] = ()
    asked: VariantAsked | None = None


def decode_infer(
    model: str,
    signature: Signature,
    headers: Mapping[bytes, bytes],
    body: bytes | memoryview,
    *,
    max_bytes: int,
    codecs: Sequence[CodecEntry] = (),
    held: Inputs = NO_INPUTS,
) -> InferRequest:
    """The request in `body`; a compressed body may inflate to `max_bytes`, and so may coded inputs, all together.

    `codecs` are the lossy ones that the model takes and gives; `held` knows inputs by their digests.
    """
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
    coded: tuple[Coded, ...] = ()
    if asked.codecs:
        # Beside the cache: two versions of a model may have one signature and not the same codecs.
        for spec, codec in asked.codecs:
            check_accepted(model, spec, codec, codecs)
        coded = tuple(
            coded_input(given.name, codec, given.datatype, given.shape, _raw(given, tail, at, held))
            for given, at, codec in asked.frames
        )
        check_size(model, coded, max_bytes)
    return InferRequest(
        id=asked.id,
        inputs={given.name: _tensor(model, given, tail, at, held) for given, at in asked.inputs},
        rows=asked.rows,
        outputs=asked.outputs,
        binary_default=asked.binary_default,
        timeout_us=asked.timeout_us,
        reply_coding=reply_coding,
        batched=signature.max_batch > 0,
        coded=coded,
        asked=asked.variant,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The JSON part of a request, checked against the signature. Beside each input stands where its raw data lies,
    None where they are in JSON or came before. `frames` are inputs that came coded; `codecs` all that are named."""

    id: str
    inputs: list[tuple[Input, slice | None]]
    frames: list[tuple[Input, slice | None, str]]
    codecs: list[tuple[TensorSpec, str]]
    rows: int
    outputs: tuple[RequestedOutput, ...]
    binary_default: bool
    timeout_us: int | None
    variant: VariantAsked | None


def _read(model: str, signature: Signature, json_part: bytes | memoryview, tail_size: int) -> _Asked:
    document = parse_document(json_part)
    refuse_reserved(document.parameters or _NOTHING)
    inputs = _inputs(model, signature, document, tail_size)
    outputs = _outputs(model, signature, document)
    frames = [(given, at, codec) for given, at in inputs if (codec := _codec_of(given, at)) is not None]
    coded = {given.name: codec for given, _, codec in frames}
    asked_in = {each.name: each.codec for each in outputs if each.codec is not None}
    return _Asked(
        id=check_id(document.id),
        inputs=[(given, at) for given, at in inputs if given.name not in coded],
        frames=frames,
        codecs=[
            *((spec, coded[spec.name]) for spec in signature.inputs if spec.name in coded),
            *((spec, asked_in[spec.name]) for spec in signature.outputs if spec.name in asked_in),
        ],
        rows=count_rows(model, signature, [given.shape for given, _ in inputs]),
        outputs=outputs,
        binary_default=flag(document.parameters, "binary_data_output"),
        timeout_us=timeout_us(document.parameters or _NOTHING),
        variant=variant_asked(document.parameters or _NOTHING),
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


def _codec_of(given: Input, at: slice | None) -> str | None:
    """The codec of an input, whose data then are binary."""
    codec = codec_asked(given.parameters or _NOTHING, given.name)
    if codec is not None and given.has_data:
        raise InvalidInputError(
            f"input '{given.name}' has a 'codec' but its data are in JSON; send the frame as binary data"
        )
    return codec


def _tensor(model: str, given: Input, tail: memoryview, at: slice | None, held: Inputs) -> Array:
    if given.has_data:
        return from_json(given.data, given.datatype, given.shape, given.name)
    return raw_tensor(model, _raw(given, tail, at, held), given.datatype, given.shape, given.name)


def _raw(given: Input, tail: memoryview, at: slice | None, held: Inputs) -> bytes | memoryview:
    """The raw bytes of an input, as they came now or before."""
    digest = None if given.parameters is None else digest_asked(given.parameters, given.name)
    if at is None:
        return held.held(digest or "", given.name)
    if digest is not None:
        held.keep(digest, given.name, tail[at])
    return tail[at]


def _binary_size(given: Input) -> int | None:
    """The size of a binary input, None for one in JSON or held; exactly one of the three ways is allowed.

    A digest alone says that the data came before.
    """
    parameters = given.parameters or _NOTHING
    size = parameters.get("binary_data_size")
    ways = given.has_data + (size is not None) + (SHARED_MEMORY in parameters)
    digest = digest_asked(parameters, given.name) if "digest" in parameters else None
    if digest is not None and given.has_data:
        raise InvalidInputError(f"'digest' of input '{given.name}' is of raw bytes; send its data as binary data")
    if ways != 1 and not (ways == 0 and digest is not None):
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
        binary, codec = flag(parameters, "binary_data"), codec_asked(parameters, asked.name)
        if codec is not None and (classes or not binary):
            raise InvalidInputError(f"'codec' of output '{asked.name}' needs 'binary_data', and no 'classification'")
        outputs[asked.name] = RequestedOutput(asked.name, binary, classes, codec)
    binary = flag(document.parameters, "binary_data_output")
    outputs = outputs or all_coded(signature, document.parameters or _NOTHING, binary=binary)
    for name, is_text in [(each.name, not each.binary and not each.classes) for each in outputs.values()] or [
        (name, not binary) for name in specs
    ]:
        # Refused before anything is computed, and paid for.
        if specs[name].datatype == "FP16" and is_text:
            raise InvalidInputError(
                f"sending FP16 data via JSON is not supported. Please use the binary data format for output {name}"
            )
    return tuple(outputs.values())


def all_coded(signature: Signature, parameters: Mapping[str, Any], *, binary: bool) -> dict[str, RequestedOutput]:
    """Every output with the codec that the request has for all of them; none where it has none."""
    codec = codec_asked(parameters, "the request")
    if codec is None:
        return {}
    if not binary:
        raise InvalidInputError("'codec' of the request needs 'binary_data_output'")
    return {spec.name: RequestedOutput(spec.name, binary=True, codec=codec) for spec in signature.outputs}
