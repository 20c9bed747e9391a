"""A small student that learned from the original's answers, in its place (Hinton, Vinyals and Dean, 2015).

Rows of numbers get a network of `airserve.nn` with one hidden layer; pictures as arrays [rows, channels, height, width]
get a small convolutional one. The original's answers are what is learned; labels are counted in where they are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from airserve.core.call import Array
from airserve.core.errors import ModelFailedError
from airserve.models.manifest import Manifest
from airserve.models.optimise.graphs import write_graph
from airserve.models.optimise.method import Method, Original
from airserve.models.optimise.student_graph import cannot_stand_in, with_signature
from airserve.models.optimise.teaching import LABEL_SHARE, TEMPERATURE, Lesson, divided, lesson, soft, why_not
from airserve.nn import (
    Adam,
    CategoricalCrossEntropy,
    Cosine,
    Data,
    MeanSquaredError,
    Network,
    Trainer,
    TrainingError,
    export_onnx,
    fit_scaling,
)

_EPOCHS, _MOST_STEPS, _BATCH, _RATE, _PATIENCE = 120, 6000, 32, 3e-3, 15
_SEED = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How large a student is: neurons of its hidden layer, or channels of its convolutions."""

    name: str
    hidden: int
    channels: tuple[int, int]


SIZES = (Size("medium", 64, (16, 32)), Size("small", 16, (8, 16)))


@dataclass(frozen=True, slots=True)
class SoftCrossEntropy:
    """A loss of `airserve.nn`: T²·KL(p ‖ softmax(z/T)) and the cross-entropy of labels, averaged where there are any.

    Targets are float [rows, 2·K]: p, the teacher's softmax(z/T), then the labels one-hot, all zero where none is known.
    """

    classes: int
    output: str = "softmax"

    def check(self, targets: Array, units: int) -> Array:
        """The targets as they are."""
        if units != self.classes or targets.ndim != 2 or targets.shape[1] != 2 * units:
            raise TrainingError(f"a student of {units} classes learns from targets [rows, {2 * units}]")
        return targets

    def value(self, outputs: Array, targets: Array) -> float:
        """The mean loss of a batch."""
        wanted, labels = targets[:, : self.classes], targets[:, self.classes :]
        told = np.log(np.maximum(soft(outputs.astype(np.float64)), 1e-12))
        divergence = (wanted * (np.log(np.maximum(wanted, 1e-12)) - told)).sum(1)
        hard = -(labels * np.log(np.maximum(soft(outputs.astype(np.float64), 1.0), 1e-12))).sum(1)
        share = LABEL_SHARE * labels.sum(1)
        return float(np.mean((1 - share) * TEMPERATURE**2 * divergence + LABEL_SHARE * hard))

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """(1 − s)·T·(softmax(z/T) − p) + s·(softmax(z) − label), over the rows."""
        wanted, labels = targets[:, : self.classes], targets[:, self.classes :]
        share = LABEL_SHARE * labels.sum(1, keepdims=True)
        grad = (1 - share) * TEMPERATURE * (soft(outputs) - wanted) + share * (soft(outputs, 1.0) - labels)
        return np.asarray(grad / len(outputs), outputs.dtype)


def distil(original: Original, target: Path, size: Size) -> None:
    """Teach a student of this size, and write its graph, with the original's inputs and outputs, to `target`.

    Raises `ModelFailedError` where learning fails.
    """
    whole = lesson(original)
    scratch = target.with_suffix(".student.onnx")
    shape = original.manifest.inputs[0].shape
    if len(shape) == 2:
        _dense(whole, scratch, size)
    else:
        from airserve.models.optimise.conv_student import teach_convolutions

        teach_convolutions(whole, scratch, size.channels, None if -1 in shape[2:] else (shape[2], shape[3]))
    write_graph(with_signature(onnx.load(scratch), original.manifest), target)


def fits(original: Original) -> str | None:
    """A model of one array whose outputs a student can give, with a training set."""
    reason = why_not(original) or cannot_stand_in(original.manifest)
    if reason is not None:
        return reason
    return _wrong_shape(original.manifest)


def _wrong_shape(manifest: Manifest) -> str | None:
    shape = manifest.inputs[0].shape
    if len(shape) not in (2, 4) or shape[1] == -1 or any(0 <= side < 2 for side in shape[2:]):
        return f"students take [rows, columns] or [rows, channels, height, width], not {list(shape)}"
    if len(shape) == 4:
        try:
            import torch  # noqa: F401
        except ImportError:
            return "a student for pictures needs torch: pip install 'airserve[torch]'"
    return None


def _dense(whole: Lesson, target: Path, size: Size) -> None:
    """One hidden layer, on inputs scaled as the training set says."""
    (rows,) = whole.inputs.values()
    scaling = fit_scaling(rows)
    learned, held = divided(whole)
    classes = whole.answers.shape[1]
    values = None if whole.classifies else fit_scaling(whole.answers)
    loss: Any = SoftCrossEntropy(classes) if whole.classifies else MeanSquaredError()
    output = CategoricalCrossEntropy().output if whole.probable else "identity"
    network = Network((rows.shape[1], size.hidden, classes), output=output, seed=_SEED)

    def data(part: Lesson) -> Data:
        (x,) = part.inputs.values()
        return Data(scaling.apply(x), _targets(part) if values is None else values.apply(part.answers))

    steps = -(-len(learned) // _BATCH)
    epochs = max(3, min(_EPOCHS, _MOST_STEPS // steps))
    try:
        trainer = Trainer(
            network,
            data(learned),
            loss=loss,
            optimiser=Adam(),
            schedule=Cosine(_RATE, epochs * steps),
            batch_size=_BATCH,
            validation=data(held),
            patience=_PATIENCE,
            seed=_SEED,
        )
        trainer.run(epochs)
        export_onnx(network, target, sample=rows[:256], scaling=scaling, target_scaling=values)
    except TrainingError as error:
        raise ModelFailedError(f"the student did not learn: {error}") from None


def _targets(part: Lesson) -> Array:
    """What `SoftCrossEntropy` takes."""
    known = np.zeros_like(part.answers)
    if part.labels is not None:
        known[np.arange(len(part)), part.labels] = 1
    return np.concatenate([soft(part.answers), known], axis=1)


METHODS = tuple(
    Method(
        name=f"student-{size.name}",
        what=f"a new network of {size.hidden} neurons, or {size.channels[0]} and {size.channels[1]} channels",
        fits=fits,
        make=partial(distil, size=size),
        steps=30,
    )
    for size in SIZES
)
