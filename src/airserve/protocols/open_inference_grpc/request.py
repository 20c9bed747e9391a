"""A `ModelInferRequest`: its tensors, views of the message where they are raw, checked as those of REST are.

Source: inference_grpc.md of the Open Inference Protocol; where it leaves a wording or a corner open, Triton's
(src/grpc/infer_handler.cc). Every refusal is an `InvalidInputError` unless said otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airserve.core.call import Array, Tensors, VariantAsked
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature
from airserve.models.manifest import CodecEntry
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
from airserve.protocols.open_inference.raw import raw_tensor
from airserve.protocols.open_inference.request import RequestedOutput, all_coded
from airserve.protocols.open_inference_grpc.contents import from_contents, has_contents
from airserve.protocols.open_inference_grpc.parameters import values_of
from airserve.protocols.protos.open_inference_pb import ModelInferRequest

EMPTY_DIGEST = hashlib.sha256().hexdigest()
"""The digest of an input that has no data anyway."""
EMPTY_FINAL = "triton_enable_empty_final_response"
"""The one parameter of its prefix that a client may set: on a stream, an answer ends with a response that says so."""
REPLAYED = "airserve_replayed"
"""The parameter of a response on a stream that says that an earlier attempt at its request was answered, with this."""
FINAL = "triton_final_response"
"""The parameter of each response on a stream that says whether it is the last to its request."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What the client asks for.

    `outputs` empty means all. `typed` tells that they go back element by element instead of raw; `timeout_us` is the
    parameter `timeout`, `asked` what others want of the variant that answers; `batched` whether the first axis of the
    outputs counts rows. `coded` are inputs that came as frames, and are not among `inputs` before somebody opens them.
    """

    id: str
    inputs: Tensors
    rows: int
    outputs: tuple[RequestedOutput, ...] = ()
    typed: bool = False
    timeout_us: int | None = None
    batched: bool = False
    coded: tuple[Coded, ...] = ()
    asked: VariantAsked | None = None


def decode_infer(
    model: str,
    signature: Signature,
    message: ModelInferRequest,
    *,
    max_bytes: int,
    codecs: Sequence[CodecEntry] = (),
    held: Inputs = NO_INPUTS,
) -> InferRequest:
    """The request in `message`; coded inputs may become `max_bytes` together. `codecs` are the lossy ones taken.

    `held` knows inputs by their digests; one that is named by its digest alone has empty raw contents, or none.
    """
    parameters = values_of(message.parameters)
    refuse_reserved(parameters, allowed=(EMPTY_FINAL,))
    inputs, coded = _inputs(model, signature, message, codecs, held)
    shapes = [*(array.shape for array in inputs.values()), *(each.head.shape for each in coded)]
    check_size(model, coded, max_bytes)
    # tritonclient reads raw outputs alone, so typed ones are for who sends typed inputs and asks for them.
    typed = not message.raw_input_contents and not flag(parameters, "binary_data_output", default=True)
    return InferRequest(
        id=check_id(message.id),
        inputs=inputs,
        rows=count_rows(model, signature, shapes),
        outputs=_outputs(model, signature, message, codecs, typed=typed),
        typed=typed,
        timeout_us=timeout_us(parameters),
        batched=signature.max_batch > 0,
        coded=coded,
        asked=variant_asked(parameters),
    )


def _inputs(
    model: str, signature: Signature, message: ModelInferRequest, listed: Sequence[CodecEntry], held: Inputs
) -> tuple[Tensors, tuple[Coded, ...]]:
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: Tensors = {}
    coded: dict[str, Coded] = {}
    for position, given in enumerate(message.inputs):
        spec = spec_of(model, specs, given.name, (*inputs, *coded))
        if SHARED_MEMORY in given.parameters:
            raise NotImplementedHereError(NO_SHARED_MEMORY)
        check_input(model, spec, given.datatype, given.shape)
        parameters = values_of(given.parameters) if given.parameters else {}
        codec = codec_asked(parameters, spec.name)
        digest = digest_asked(parameters, spec.name)
        if codec is None and digest is None:
            inputs[spec.name] = tensor_at(model, message, position)
            continue
        if codec is not None:
            check_accepted(model, spec, codec, listed)
        raw = _raw(model, message, position, digest, held)
        if codec is None:
            inputs[spec.name] = raw_tensor(model, raw, given.datatype, given.shape, spec.name)
        else:
            coded[spec.name] = coded_input(spec.name, codec, given.datatype, given.shape, raw)
    check_all_given(model, list(specs), [*inputs, *coded])
    surplus = len(message.raw_input_contents) - len(message.inputs)
    if surplus > 0:
        raise InvalidInputError(
            f"unexpected additional input data for model '{model}': {surplus} of the raw_input_contents "
            "belong to no input"
        )
    return inputs, tuple(coded.values())


def _raw(model: str, message: ModelInferRequest, position: int, digest: str | None, held: Inputs) -> bytes:
    """The raw bytes of the input at `position`, as they came now or, where it has a digest, before."""
    if digest is None:
        return raw_at(model, message, position)
    given, raw = message.inputs[position], message.raw_input_contents
    if given.contents is not None:
        raise InvalidInputError(f"'digest' of input '{given.name}' is of raw bytes; send raw_input_contents")
    if (not raw or (position < len(raw) and not raw[position])) and digest != EMPTY_DIGEST:
        return held.held(digest, given.name)
    came = raw_at(model, message, position)
    held.keep(digest, given.name, came)
    return came


def tensor_at(model: str, message: ModelInferRequest, position: int) -> Array:
    """The tensor of the input at `position`, whose datatype and shape were checked."""
    given = message.inputs[position]
    if not message.raw_input_contents:
        return from_contents(model, given.contents, given.datatype, given.shape, given.name)
    return raw_tensor(model, raw_at(model, message, position), given.datatype, given.shape, given.name)


def raw_at(model: str, message: ModelInferRequest, position: int) -> bytes:
    """The bytes of the input at `position` among the raw contents."""
    given, raw = message.inputs[position], message.raw_input_contents
    if given.contents is not None:
        raise InvalidInputError(
            f"contents field must not be specified when using raw_input_contents for '{given.name}' for model '{model}'"
        )
    if position >= len(raw):
        raise InvalidInputError(f"unable to find data for input tensor '{given.name}' for model '{model}' in request.")
    return raw[position]


def _outputs(
    model: str, signature: Signature, message: ModelInferRequest, listed: Sequence[CodecEntry], *, typed: bool
) -> tuple[RequestedOutput, ...]:
    outputs: dict[str, RequestedOutput] = {}
    for asked in message.outputs:
        parameters = values_of(asked.parameters)
        classes = check_output(model, signature, asked.name, parameters, outputs)
        codec = codec_asked(parameters, asked.name)
        if codec is not None and (classes or typed):
            raise InvalidInputError(f"'codec' of output '{asked.name}' needs raw contents, and no 'classification'")
        outputs[asked.name] = RequestedOutput(asked.name, not typed, classes, codec)
    if not outputs:
        outputs = all_coded(signature, values_of(message.parameters), binary=not typed)
    for spec in signature.outputs:
        if (each := outputs.get(spec.name)) is not None and each.codec is not None:
            check_accepted(model, spec, each.codec, listed)
    if typed:
        _refuse_untypable(signature, outputs)
    return tuple(outputs.values())


def _refuse_untypable(signature: Signature, outputs: Mapping[str, RequestedOutput]) -> None:
    # Refused before anything is computed, and paid for.
    for spec in signature.outputs:
        asked = outputs.get(spec.name) if outputs else RequestedOutput(spec.name, binary=False)
        if asked is not None and not asked.classes and not has_contents(spec.datatype):
            raise InvalidInputError(
                f"output '{spec.name}' is {spec.datatype}, which has no typed contents; leave 'binary_data_output' out"
            )
