"""What a smaller network learns from: the original's own answers, and labels where they are known.

The answers to all classes say more than the right one alone (Hinton, Vinyals and Dean, "Distilling the Knowledge in a
Neural Network", 2015): at a temperature T the student follows softmax(z/T) of the teacher, times T², so that its
gradients stay as large as those of the labels. Where the original gives values and no classes, its values are learned.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec
from airserve.engines.session import Session
from airserve.models.codec_accuracy import deciding_output
from airserve.models.manifest import Manifest
from airserve.models.optimise.method import Original

TEMPERATURE = 3.0
LABEL_SHARE = 0.5
_HELD_BACK = 0.15
_LEAST_ROWS = 20
_TINY = 1e-8
_AT_ONCE = 256
_SEED = 11


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows (`inputs`) with the original's `answers`, float32 [rows, K], and `labels`, int64 or None.

    For a classifier the answers are logits, up to a constant a row; `probable` says that the graph gives probabilities.
    `spread` is the variance of each column of all answers.
    """

    inputs: Tensors
    answers: Array
    labels: Array | None
    spread: Array
    classifies: bool
    probable: bool

    def part(self, rows: Array) -> Lesson:
        """Some of the rows."""
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, inputs=inputs, answers=self.answers[rows], labels=labels)

    def __len__(self) -> int:
        return len(self.answers)


def why_not(original: Original) -> str | None:
    """Why nothing can be learned from this original; None where it can."""
    manifest = original.manifest
    if original.training is None:
        return "it learns from rows: give a training set with --train"
    if manifest.vision is not None or manifest.text is not None:
        return "it is for models that take arrays, not pictures or texts"
    if not manifest.max_batch:
        return "the model takes one row at a time; it is for models that batch"
    if len(next(iter(original.training.inputs.values()))) < _LEAST_ROWS:
        return f"the training set has fewer than {_LEAST_ROWS} rows"
    if taught(manifest) is None:
        return "the model has several outputs of numbers, none of which are the scores of its classes"
    return None


def taught(manifest: Manifest) -> TensorSpec | None:
    """The output that is learned: the scores of the classes, or the only one with numbers."""
    numbers = [each for each in manifest.signature.outputs if each.datatype == "FP32" and len(each.shape) == 2]
    one_row = {each.name: np.zeros([max(size, 1) for size in each.shape], np.float32) for each in numbers}
    name = deciding_output(manifest, one_row) if one_row else None
    if name is None and len(numbers) == 1:
        name = numbers[0].name
    return next((each for each in numbers if each.name == name), None)


def lesson(original: Original) -> Lesson:
    """The training set with the original's answers to it."""
    training, output = original.training, taught(original.manifest)
    assert training is not None and output is not None, "why_not said so"  # noqa: S101
    count = len(next(iter(training.inputs.values())))
    answers = []
    with closing(Session(original.file, threads=1)) as session:
        for start in range(0, count, _AT_ONCE):
            rows = {name: array[start : start + _AT_ONCE] for name, array in training.inputs.items()}
            answers.append(session.run(rows, [output.name])[output.name])
    found = np.concatenate(answers).astype(np.float32)
    if not np.isfinite(found).all():
        raise InvalidInputError("the original's answers to the training set are not all finite numbers")
    classifies = len(original.manifest.labels) == found.shape[1] > 1
    probable = classifies and bool((found >= 0).all() and np.allclose(found.sum(1), 1, atol=1e-3))
    if probable:
        found = np.log(np.maximum(found, _TINY))
    labels = training.labels if classifies else None
    return Lesson(training.inputs, found, labels, np.maximum(found.var(axis=0), _TINY), classifies, probable)


def divided(whole: Lesson) -> tuple[Lesson, Lesson]:
    """What is learned from, and what is held back to see when to stop; the same for the same number of rows."""
    order = np.random.default_rng(_SEED).permutation(len(whole))
    held = max(1, round(len(whole) * _HELD_BACK))
    return whole.part(order[held:]), whole.part(order[:held])


def soft(logits: Array, temperature: float = TEMPERATURE) -> Array:
    """softmax(z/T), of each row."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def torch_loss(outputs: Any, of: Lesson) -> Any:
    """How far a student's outputs, a tensor of PyTorch in the original's form, are from the lesson: a scalar."""
    import torch
    from torch.nn import functional

    answers = torch.from_numpy(of.answers)
    if not of.classifies:
        return ((outputs - answers) ** 2 / torch.from_numpy(of.spread)).mean()
    logits = torch.log(outputs.clamp_min(_TINY)) if of.probable else outputs
    wanted = torch.softmax(answers / TEMPERATURE, dim=1)
    told = functional.log_softmax(logits / TEMPERATURE, dim=1)
    loss = TEMPERATURE**2 * functional.kl_div(told, wanted, reduction="batchmean")
    if of.labels is None:
        return loss
    hard = functional.cross_entropy(logits, torch.from_numpy(of.labels))
    return (1 - LABEL_SHARE) * loss + LABEL_SHARE * hard
