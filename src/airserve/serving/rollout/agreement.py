"""Whether two versions answered the same row the same, by the measure that suits the model."""

from __future__ import annotations

from airserve.core.call import Tensors
from airserve.models.codec_accuracy import TOP_1, agreement
from airserve.models.manifest import Manifest

CLOSE = 0.99
"""So alike are answers that agree: cosine of embeddings, 1 - relative error of other numbers."""


def agrees(manifest: Manifest, answer: Tensors, wanted: Tensors) -> bool:
    """Whether `answer` says what `wanted` does: the same class, nearly the same direction, nearly the same numbers."""
    if answer.keys() != wanted.keys():
        return False
    metric, value = agreement(manifest, [answer], [wanted])
    return value >= (1.0 if metric == TOP_1 else CLOSE)
