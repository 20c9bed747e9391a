"""A sealed call as the only input of a `ModelInferRequest`: the BYTES tensor `airserve.sealed`, of shape [1]."""

from __future__ import annotations

from collections.abc import Mapping

from airserve.codecs.sealed_message import FLAT, TENSOR
from airserve.codecs.tensors import to_raw
from airserve.core.call import Reply
from airserve.core.errors import UnsealError
from airserve.models.manifest import Manifest
from airserve.protocols.open_inference_grpc.request import tensor_at
from airserve.protocols.protos.open_inference_pb import ModelInferRequest, ModelInferResponse
from airserve.protocols.sealed.message import SealedCall, sealed_call


def is_sealed_message(message: ModelInferRequest) -> bool:
    """Whether the only input is a sealed call."""
    return len(message.inputs) == 1 and message.inputs[0].name == TENSOR


def decode_message(manifest: Manifest, headers: Mapping[bytes, bytes], message: ModelInferRequest) -> SealedCall:
    """The call in `message`; its call id is in the metadata. Raises what `decode` raises."""
    given = message.inputs[0]
    if given.datatype != "BYTES" or list(given.shape) != [1]:
        raise UnsealError(FLAT)
    return sealed_call(manifest, headers, tensor_at(manifest.name, message, 0)[0])


def encode_message(message: ModelInferRequest, reply: Reply) -> ModelInferResponse:
    """The sealed reply to `message`, as the only output and under the same name."""
    raw = bytes(to_raw(reply.outputs[TENSOR]))
    output = ModelInferResponse.InferOutputTensor(name=TENSOR, datatype="BYTES", shape=[1])
    return ModelInferResponse(
        model_name=reply.model,
        model_version=reply.version,
        id=message.id,
        outputs=[output],
        raw_output_contents=[len(raw).to_bytes(4, "little") + raw],
    )
