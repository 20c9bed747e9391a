"""Text models on a stream: a `text_input` and sampling parameters in, a response with a `text_output` for each piece.

Every input is a tensor of one element; those beside `text_input` are sampling parameters, as the request's own are.
"""

from __future__ import annotations

import numpy as np

from airserve.codecs.tensors import to_raw
from airserve.core.errors import InvalidInputError
from airserve.core.generation import Piece
from airserve.core.tensor import NUMPY_OF, element_count
from airserve.protocols.open_inference import GenerateRequest
from airserve.protocols.open_inference.checks import check_id, flag, refuse_reserved, timeout_us
from airserve.protocols.open_inference_grpc.parameters import Value, boolean, values_of
from airserve.protocols.open_inference_grpc.request import EMPTY_FINAL, FINAL, tensor_at
from airserve.protocols.protos.open_inference_pb import ModelInferRequest, ModelInferResponse


def decode_generate(model: str, message: ModelInferRequest) -> GenerateRequest:
    """The request in `message`. Raises `InvalidInputError` for what is no single value, or no text."""
    parameters = values_of(message.parameters)
    refuse_reserved(parameters, allowed=(EMPTY_FINAL,))
    flag(parameters, EMPTY_FINAL)
    for output in message.outputs:
        if output.name != "text_output":
            raise InvalidInputError(f"unexpected inference output '{output.name[:80]}' for model '{model}'")
    inputs = {given.name: _value(model, message, position) for position, given in enumerate(message.inputs)}
    sampling = {name: value for name, value in parameters.items() if name != EMPTY_FINAL}
    return GenerateRequest(check_id(message.id), inputs, sampling, timeout_us(parameters))


def encode_piece(message: ModelInferRequest, model: str, version: str, piece: Piece) -> ModelInferResponse | None:
    """The response that a piece of the answer to `message` is; None for one that says nothing to who asked."""
    text = "".join(choice.get("text") or "" for choice in piece.choices)
    ends = piece.final and flag(values_of(message.parameters), EMPTY_FINAL)
    if not text and not ends:
        return None
    response = ModelInferResponse(model_name=model, model_version=version, id=message.id)
    response.parameters[FINAL] = boolean(piece.final)
    if text:
        array = np.array([text.encode()], dtype=object)
        response.outputs.append(ModelInferResponse.InferOutputTensor(name="text_output", datatype="BYTES", shape=[1]))
        response.raw_output_contents.append(bytes(to_raw(array)))
    return response


def _value(model: str, message: ModelInferRequest, position: int) -> Value:
    given = message.inputs[position]
    if given.datatype not in NUMPY_OF or element_count(given.shape, given.name) != 1:
        raise InvalidInputError(f"input '{given.name[:80]}' for model '{model}' is one value, of shape [1]")
    value: Value | bytes = tensor_at(model, message, position).item()
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"input '{given.name[:80]}' for model '{model}' is not UTF-8 text") from None
