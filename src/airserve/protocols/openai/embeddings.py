"""`POST /v1/embeddings`: request and answer. Source: OpenAI API reference, "Create embeddings"."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from airserve.core.call import Array
from airserve.core.tensor import Signature
from airserve.protocols.encoded import Encoded
from airserve.protocols.openai.answer import JSON
from airserve.protocols.openai.document import fit
from airserve.protocols.openai.errors import ParameterError
from airserve.protocols.openai.parameters import Name

MAX_TEXTS = 2048
"""OpenAI's own bound for one request."""

OUTPUT = "embedding"
TOKENS = "tokens"


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Name
    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """Which texts to embed. `base64` asks for little-endian FP32 instead of JSON numbers."""

    model: str
    texts: list[str]
    base64: bool
    dimensions: int | None


def decode_embeddings(document: Mapping[str, Any]) -> EmbeddingsRequest:
    """The request in a JSON object. Raises `ParameterError` naming what is wrong."""
    request = fit(document, _Request)
    return EmbeddingsRequest(
        model=request.model,
        texts=_texts(request.input),
        base64=request.encoding_format == "base64",
        dimensions=request.dimensions,
    )


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise ParameterError(
            "Invalid value for 'input': expected a string or a list of strings; token ids are not taken, since they "
            "mean something else to every model.",
            "input",
            "invalid_type",
        )
    if not 1 <= len(given) <= MAX_TEXTS:
        raise ParameterError(f"Invalid value for 'input': 1 to {MAX_TEXTS} texts a request.", "input")
    return given


def text_input(signature: Signature) -> str | None:
    """The input that takes the texts, of a model that turns BYTES [-1] into FP32 `embedding` [-1, d]; else None."""
    gives = any(
        output.name == OUTPUT and output.datatype == "FP32" and len(output.shape) == 2 for output in signature.outputs
    )
    if not gives or len(signature.inputs) != 1:
        return None
    (given,) = signature.inputs
    return given.name if given.datatype == "BYTES" and given.shape == (-1,) else None


def check_dimensions(wanted: int | None, signature: Signature) -> None:
    """Refuse to cut embeddings short: it keeps their meaning only for models that were trained for it."""
    (size,) = [output.shape[1] for output in signature.outputs if output.name == OUTPUT]
    if wanted not in (None, size):
        raise ParameterError(
            f"Invalid value for 'dimensions': the embeddings of this model have {size}; leave it away.", "dimensions"
        )


def encode_embeddings(request: EmbeddingsRequest, embeddings: Array, tokens: int) -> Encoded:
    """The answer: `embeddings` is FP32 [n, d], in the order of the texts; `tokens` is what they were together."""
    rows = embeddings.astype("<f4", copy=False)
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(row) if request.base64 else row.tolist()}
        for index, row in enumerate(rows)
    ]
    document = {
        "object": "list",
        "data": data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Encoded(200, [JSON], [msgspec.json.encode(document)])


def _base64(row: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(row).tobytes()).decode("ascii")
