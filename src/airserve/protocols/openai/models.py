"""`GET /v1/models`: what there is. Source: OpenAI API reference, "The model object"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from airserve.protocols.encoded import Encoded
from airserve.protocols.openai.answer import JSON


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model. `capabilities` says which routes it answers: chat, completions, embeddings; else tensors, on /v2."""

    name: str
    capabilities: tuple[str, ...]


def model_list(cards: Iterable[ModelCard]) -> Encoded:
    """All models that a key opens."""
    return Encoded(200, [JSON], [msgspec.json.encode({"object": "list", "data": [_model(card) for card in cards]})])


def model_object(card: ModelCard) -> Encoded:
    """One model."""
    return Encoded(200, [JSON], [msgspec.json.encode(_model(card))])


def _model(card: ModelCard) -> dict[str, Any]:
    # When a model was made is not known to its package; clients want a number all the same.
    return {
        "id": card.name,
        "object": "model",
        "created": 0,
        "owned_by": "airserve",
        "capabilities": card.capabilities,
    }
