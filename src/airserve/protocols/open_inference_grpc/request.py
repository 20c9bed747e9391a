"""A `ModelInferRequest`: its tensors, views of the message where they are raw, checked as those of REST are.

Source: inference_grpc.md of the Open Inference Protocol; where it leaves a wording or a corner open, Triton's
(src/grpc/infer_handler.cc). Every refusal is an `InvalidInputError` unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature
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
from airserve.protocols.open_inference.raw import raw_tensor
from airserve.protocols.open_inference.request import RequestedOutput
from airserve.protocols.open_inference_grpc.contents import from_contents, has_contents
from airserve.protocols.open_inference_grpc.parameters import values_of
from airserve.protocols.protos.open_inference_pb import ModelInferRequest

EMPTY_FINAL = "triton_enable_empty_final_response"
"""The one parameter of its prefix that a client may set: on a stream, an answer ends with a response that says so."""
FINAL = "triton_final_response"
"""The parameter of each response on a stream that says whether it is the last to its request."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What the client asks for.

    `outputs` empty means all. `typed` tells that they go back element by element instead of raw; `timeout_us` is the
    parameter `timeout`; `batched` whether the first axis of the outputs counts rows.
    """

    id: str
    inputs: Tensors
    rows: int
    outputs: tuple[RequestedOutput, ...] = ()
    typed: bool = False
    timeout_us: int | None = None
    batched: bool = False


def decode_infer(model: str, signature: Signature, message: ModelInferRequest) -> InferRequest:
    """The request in `message`."""
    parameters = values_of(message.parameters)
    refuse_reserved(parameters, allowed=(EMPTY_FINAL,))
    inputs = _inputs(model, signature, message)
    # tritonclient reads raw outputs alone, so typed ones are for who sends typed inputs and asks for them.
    typed = not message.raw_input_contents and not flag(parameters, "binary_data_output", default=True)
    return InferRequest(
        id=check_id(message.id),
        inputs=inputs,
        rows=count_rows(model, signature, [array.shape for array in inputs.values()]),
        outputs=_outputs(model, signature, message, typed=typed),
        typed=typed,
        timeout_us=timeout_us(parameters),
        batched=signature.max_batch > 0,
    )


def _inputs(model: str, signature: Signature, message: ModelInferRequest) -> Tensors:
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: Tensors = {}
    for position, given in enumerate(message.inputs):
        spec = spec_of(model, specs, given.name, inputs)
        if SHARED_MEMORY in given.parameters:
            raise NotImplementedHereError(NO_SHARED_MEMORY)
        check_input(model, spec, given.datatype, given.shape)
        inputs[spec.name] = tensor_at(model, message, position)
    check_all_given(model, list(specs), list(inputs))
    surplus = len(message.raw_input_contents) - len(message.inputs)
    if surplus > 0:
        raise InvalidInputError(
            f"unexpected additional input data for model '{model}': {surplus} of the raw_input_contents "
            "belong to no input"
        )
    return inputs


def tensor_at(model: str, message: ModelInferRequest, position: int) -> Array:
    """The tensor of the input at `position`, whose datatype and shape were checked."""
    given, raw = message.inputs[position], message.raw_input_contents
    if not raw:
        return from_contents(model, given.contents, given.datatype, given.shape, given.name)
    if given.contents is not None:
        raise InvalidInputError(
            f"contents field must not be specified when using raw_input_contents for '{given.name}' for model '{model}'"
        )
    if position >= len(raw):
        raise InvalidInputError(f"unable to find data for input tensor '{given.name}' for model '{model}' in request.")
    return raw_tensor(model, raw[position], given.datatype, given.shape, given.name)


def _outputs(
    model: str, signature: Signature, message: ModelInferRequest, *, typed: bool
) -> tuple[RequestedOutput, ...]:
    outputs: dict[str, RequestedOutput] = {}
    for asked in message.outputs:
        classes = check_output(model, signature, asked.name, values_of(asked.parameters), outputs)
        outputs[asked.name] = RequestedOutput(asked.name, binary=not typed, classes=classes)
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
