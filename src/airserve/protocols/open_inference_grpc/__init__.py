"""Open Inference Protocol v2 over gRPC: messages <-> calls and replies."""

from airserve.protocols.open_inference_grpc.generate import decode_generate, encode_piece
from airserve.protocols.open_inference_grpc.metadata import model_metadata, server_metadata
from airserve.protocols.open_inference_grpc.parameters import boolean
from airserve.protocols.open_inference_grpc.request import EMPTY_FINAL, FINAL, REPLAYED, InferRequest, decode_infer
from airserve.protocols.open_inference_grpc.response import encode_infer, stream_error

__all__ = [
    "EMPTY_FINAL",
    "FINAL",
    "REPLAYED",
    "InferRequest",
    "boolean",
    "decode_generate",
    "decode_infer",
    "encode_infer",
    "encode_piece",
    "model_metadata",
    "server_metadata",
    "stream_error",
]
