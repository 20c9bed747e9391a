"""The second half of the `[vision]` step: scores in, the best labels with their probabilities out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError
from airserve.engines.options import Vision


class Labels:
    """Names the classes of a classifier."""

    def __init__(self, vision: Vision, labels: Sequence[str], shape: Sequence[int | None]) -> None:
        """`shape` is that of the graph's scores. Raises `BadPackageError` where `labels` are not as many."""
        classes = math.prod(axis or 1 for axis in shape[1:])
        if labels and len(labels) != classes:
            raise BadPackageError(f"the model tells {classes} classes apart, but the package has {len(labels)} labels")
        self._k = min(vision.top_k, classes)
        self._logits = vision.logits
        self._names = np.empty(classes, dtype=object)
        self._names[:] = [label.encode() for label in labels] or [b"%d" % index for index in range(classes)]

    def best(self, scores: Array) -> Tensors:
        """Of scores [n, …]: `label` BYTES [n, k], `probability` FP32 [n, k] and `index` INT32 [n, k], best first."""
        scores = scores.reshape(len(scores), -1)
        probabilities = softmax(scores) if self._logits else scores
        index = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._k]
        return {
            "label": self._names[index],
            "probability": np.take_along_axis(probabilities, index, axis=1).astype(np.float32),
            "index": index.astype(np.int32),
        }


def softmax(scores: Array) -> Array:
    """Probabilities of scores [n, classes]."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
