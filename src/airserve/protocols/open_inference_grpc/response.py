"""A reply as a `ModelInferResponse`, and a refusal as the answer to one message of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.codecs.frame import encode
from airserve.codecs.tensors import to_raw
from airserve.core.call import Array, Reply
from airserve.core.errors import AirserveError
from airserve.core.tensor import datatype_of
from airserve.protocols.open_inference.classification import classify
from airserve.protocols.open_inference.request import RequestedOutput
from airserve.protocols.open_inference_grpc.contents import to_contents
from airserve.protocols.open_inference_grpc.parameters import number, text
from airserve.protocols.open_inference_grpc.request import InferRequest
from airserve.protocols.protos.open_inference_pb import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from airserve.protocols.refusal import sentence_of


def encode_infer(request: InferRequest, reply: Reply, *, labels: Sequence[str] = ()) -> ModelInferResponse:
    """The response to `request`: raw, as tritonclient reads it, unless typed contents were asked for.

    `labels` name the values of an output that is asked for as classes.
    """
    message = ModelInferResponse(model_name=reply.model, model_version=reply.version, id=request.id)
    if reply.variant:
        message.parameters["variant"] = text(reply.variant)
        if reply.accuracy is not None:
            message.parameters["accuracy"] = number(reply.accuracy)
    for output in request.outputs or [RequestedOutput(name, not request.typed) for name in reply.outputs]:
        array = reply.outputs[output.name]
        if output.classes:
            array = classify(array, output.classes, labels, name=output.name, batched=request.batched)
        message.outputs.append(_output(output.name, array, typed=request.typed))
        if output.codec is not None:
            message.outputs[-1].parameters["codec"] = text(output.codec)
            message.raw_output_contents.append(encode(array, output.codec))
        elif not request.typed:
            message.raw_output_contents.append(bytes(to_raw(array)))
    return message


def stream_error(message: ModelInferRequest, error: AirserveError) -> ModelStreamInferResponse:
    """The refusal of `message`, under its id. A sentence may quote what is no Unicode; it is answered all the same."""
    return ModelStreamInferResponse(
        error_message=sentence_of(error),
        infer_response=ModelInferResponse(id=message.id),
    )


def _output(name: str, array: Array, *, typed: bool) -> ModelInferResponse.InferOutputTensor:
    return ModelInferResponse.InferOutputTensor(
        name=name,
        datatype=datatype_of(array),
        shape=list(array.shape),
        contents=to_contents(array) if typed else None,
    )
