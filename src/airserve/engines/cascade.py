"""Two variants of a classifier as one model: the small one answers the rows of which it is sure, the full one the rest.

Sure is a row whose confidence, the highest probability after its scores were divided by a temperature, reaches a
threshold. Both are chosen on data when the cascade is made; the temperature makes the confidence of a network that
is too sure of itself an honest one (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 §4.2).
"""

from __future__ import annotations

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, ModelFailedError
from airserve.core.tensor import Signature
from airserve.engines.base import Model

BEST = "probability"
"""The output of the `[vision]` step that says how sure it is: the probabilities of its best classes, best first."""

_IS_ONE = 1e-3
_ROUNDING = 1e-6


class CascadeModel:
    """Runs `small` on all rows and `full` on those of which it is unsure; an answer is wholly of one of the two.

    `classes` is how many labels the model has, `vision` says that the `[vision]` step stands behind both. `close`
    closes neither: they may serve by themselves too.
    """

    def __init__(
        self, small: Model, full: Model, *, threshold: float, temperature: float, classes: int, vision: bool = False
    ) -> None:
        if classes < 2 and not vision:
            raise BadPackageError("a cascade needs a classifier; this model has no labels that its scores would be of")
        self.signature: Signature = full.signature
        self._small = small
        self._full = full
        self._threshold = threshold
        self._temperature = temperature
        self._classes = classes
        self._vision = vision
        self._batches = full.signature.max_batch > 0

    def run(self, inputs: Tensors) -> Tensors:
        """The outputs of `small`, with the rows of which it is unsure replaced by those of `full`."""
        outputs = self._small.run(inputs)
        unsure = ~self.sure(outputs)
        if not unsure.any():
            return outputs
        if not self._batches or unsure.all():
            return self._full.run(inputs)
        better = self._full.run({name: array[unsure] for name, array in inputs.items()})
        return {name: _merged(name, outputs[name], better[name], unsure) for name in outputs}

    def sure(self, outputs: Tensors) -> Array:
        """Whether each row of the small variant's `outputs` stands, BOOL [n]."""
        of = scores_of(outputs, self._classes, vision=self._vision)
        confidence = confidence_of_best if self._vision else confidence_of_scores
        return np.asarray(confidence(of, self._temperature) >= self._threshold)

    def example(self, rows: int) -> Tensors:
        """As the full variant's."""
        return self._full.example(rows)

    def close(self) -> None:
        """Nothing: whoever loaded the two variants closes them."""


def scores_of(outputs: Tensors, classes: int, *, vision: bool) -> Array:
    """The output that a cascade decides by: the first one of floats with `classes` values in its last axis.

    Of a `[vision]` model it is `probability`. Raises `ModelFailedError` where there is none.
    """
    if vision:
        return outputs[BEST]
    for array in outputs.values():
        if array.dtype.kind == "f" and array.ndim >= 2 and array.shape[-1] == classes:
            return array
    raise ModelFailedError(f"a cascade decides by {classes} scores a row, and no output of the model has as many")


def confidence_of_scores(scores: Array, temperature: float) -> Array:
    """The highest probability of each row of `scores` [n, …, classes] after softmax(scores / temperature), FP64 [n].

    Rows that are probabilities already, none negative and their sum 1, count as such: it is their logarithms that the
    temperature divides. With several predictions a row (…), the least sure one counts. What is not finite is not sure.
    """
    scores = np.asarray(scores, np.float64).reshape(len(scores), -1, scores.shape[-1])
    is_probable = (scores >= 0).all(-1, keepdims=True) & (np.abs(scores.sum(-1, keepdims=True) - 1) < _IS_ONE)
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.where(is_probable, np.log(np.where(is_probable, scores, 1.0)), scores) / temperature
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        best = 1.0 / powers.sum(-1)
    return np.asarray(np.nan_to_num(best.min(-1), nan=0.0))


def confidence_of_best(probabilities: Array, temperature: float) -> Array:
    """The same of the best few classes alone, `probabilities` [n, k], best first: FP64 [n].

    All that is not among them counts as one more class. So it is exact at temperature 1, and wherever all classes
    are there; elsewhere it is a statistic that grows with the true one, and the threshold is chosen on that.
    """
    best = np.asarray(probabilities, np.float64)
    rest = np.clip(1.0 - best.sum(-1, keepdims=True), 0.0, 1.0)
    # A root of what rounding leaves over would be a class of its own.
    rest[rest < _ROUNDING] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.power(np.concatenate([np.clip(best, 0.0, 1.0), rest], axis=-1), 1.0 / temperature)
        confidence = powers[:, 0] / powers.sum(-1)
    return np.asarray(np.nan_to_num(confidence, nan=0.0))


def _merged(name: str, small: Array, full: Array, unsure: Array) -> Array:
    if small.shape[1:] != full.shape[1:] or small.dtype != full.dtype:
        raise ModelFailedError(f"output '{name}' of the two variants of a cascade is not of one shape and datatype")
    if not small.flags.writeable:
        small = small.copy()
    small[unsure] = full
    return small
