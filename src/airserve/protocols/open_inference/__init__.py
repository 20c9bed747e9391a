"""Open Inference Protocol v2 over REST, JSON and the binary tensor extension."""

from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference.config import model_config
from airserve.protocols.open_inference.generate import (
    STREAM_HEADERS,
    Answers,
    GenerateRequest,
    decode_generate,
    error_event,
    event,
    generation_of,
    tensors_of,
    whole_reply,
)
from airserve.protocols.open_inference.metadata import (
    json_reply,
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from airserve.protocols.open_inference.repository import decode_change, decode_index, index_entry
from airserve.protocols.open_inference.request import InferRequest, decode_infer
from airserve.protocols.open_inference.response import encode_infer, render_error
from airserve.protocols.open_inference.routes import Operation, Route, match
from airserve.protocols.open_inference.statistics import model_statistics

__all__ = [
    "STREAM_HEADERS",
    "Answers",
    "Encoded",
    "GenerateRequest",
    "InferRequest",
    "Operation",
    "Route",
    "decode_change",
    "decode_generate",
    "decode_index",
    "decode_infer",
    "encode_infer",
    "error_event",
    "event",
    "generation_of",
    "index_entry",
    "json_reply",
    "match",
    "model_config",
    "model_metadata",
    "model_ready",
    "model_statistics",
    "render_error",
    "server_live",
    "server_metadata",
    "server_ready",
    "tensors_of",
    "whole_reply",
]
