"""Open Inference Protocol v2 over REST, JSON and the binary tensor extension."""

from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference.metadata import (
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from airserve.protocols.open_inference.request import InferRequest, decode_infer
from airserve.protocols.open_inference.response import encode_infer, render_error
from airserve.protocols.open_inference.routes import Operation, Route, match

__all__ = [
    "Encoded",
    "InferRequest",
    "Operation",
    "Route",
    "decode_infer",
    "encode_infer",
    "match",
    "model_metadata",
    "model_ready",
    "render_error",
    "server_live",
    "server_metadata",
    "server_ready",
]
