"""OpenAI's API: models, chat completions, completions and embeddings, streamed or whole."""

from airserve.protocols.openai.answer import Answer, Head, reply_headers
from airserve.protocols.openai.chat import decode_chat
from airserve.protocols.openai.completions import decode_completion
from airserve.protocols.openai.document import read_document
from airserve.protocols.openai.embeddings import (
    OUTPUT,
    TOKENS,
    EmbeddingsRequest,
    check_dimensions,
    decode_embeddings,
    encode_embeddings,
    text_input,
)
from airserve.protocols.openai.errors import ParameterError, UnknownModelError, render_error
from airserve.protocols.openai.models import ModelCard, model_list, model_object
from airserve.protocols.openai.parameters import GenerationRequest
from airserve.protocols.openai.routes import Operation, Route, match
from airserve.protocols.openai.stream import STREAM_HEADERS, Events, error_event

__all__ = [
    "OUTPUT",
    "STREAM_HEADERS",
    "TOKENS",
    "Answer",
    "EmbeddingsRequest",
    "Events",
    "GenerationRequest",
    "Head",
    "ModelCard",
    "Operation",
    "ParameterError",
    "Route",
    "UnknownModelError",
    "check_dimensions",
    "decode_chat",
    "decode_completion",
    "decode_embeddings",
    "encode_embeddings",
    "error_event",
    "match",
    "model_list",
    "model_object",
    "read_document",
    "render_error",
    "reply_headers",
    "text_input",
]
