"""Losses: one number for a batch, the mean over its rows, and its gradient with respect to the predictions.

Predictions and targets must have the same shape. NumPy would broadcast targets of shape (5,) against predictions of
shape (5, 1) to a (5, 5) matrix of errors without a word; here that is refused.
Source: Goodfellow, Bengio, Courville, Deep Learning, §6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from airserve.nn.activations import SIGMOID
from airserve.nn.errors import TrainingError

Array = npt.NDArray[Any]


class Loss(Protocol):
    """`output` names the activation that turns the network's raw outputs into predictions for people."""

    @property
    def output(self) -> str: ...  # noqa: D102

    def check(self, targets: Array, units: int) -> Array:
        """The targets in the form that `value` and `gradient` take, for a network with `units` outputs."""
        ...

    def value(self, outputs: Array, targets: Array) -> float:
        """The mean loss of a batch."""
        ...

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """∂L/∂outputs, of the outputs' shape."""
        ...


@dataclass(frozen=True, slots=True)
class MeanSquaredError:
    """L = mean over rows and columns of (y − t)²; targets (N, K)."""

    output: str = "identity"

    def check(self, targets: Array, units: int) -> Array:
        """Targets (N, K), K being the network's outputs."""
        return _same_width(targets, units)

    def value(self, outputs: Array, targets: Array) -> float:
        """Mean squared error."""
        _same_shape(outputs, targets)
        return float(np.mean(np.square(outputs - targets), dtype=np.float64))

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """2 (y − t) / (N·K)."""
        _same_shape(outputs, targets)
        grad: Array = (outputs - targets) * outputs.dtype.type(2 / max(1, outputs.size))
        return grad


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropy:
    """L = mean of −t·log σ(z) − (1−t)·log(1−σ(z)), from logits z; targets 0 or 1, (N, K)."""

    output: str = "sigmoid"

    def check(self, targets: Array, units: int) -> Array:
        """Targets (N, K) of zeros and ones."""
        targets = _same_width(targets, units)
        if ((targets < 0) | (targets > 1)).any():
            raise TrainingError("targets of binary cross-entropy lie between 0 and 1")
        return targets

    def value(self, outputs: Array, targets: Array) -> float:
        """max(z, 0) − z·t + log(1 + e^−|z|), which overflows for no z."""
        _same_shape(outputs, targets)
        terms = np.maximum(outputs, 0) - outputs * targets + np.log1p(np.exp(-np.abs(outputs)))
        return float(np.mean(terms, dtype=np.float64))

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """(σ(z) − t) / (N·K)."""
        _same_shape(outputs, targets)
        grad: Array = (SIGMOID.forward(outputs) - targets) * outputs.dtype.type(1 / max(1, outputs.size))
        return grad


@dataclass(frozen=True, slots=True)
class CategoricalCrossEntropy:
    """L = mean over rows of −log softmax(z)[class], from logits z (N, C); targets are class numbers (N,)."""

    output: str = "softmax"

    def check(self, targets: Array, units: int) -> Array:
        """Class numbers (N,), integers from 0 to `units` − 1."""
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise TrainingError(
                f"targets of categorical cross-entropy are class numbers, integers of shape (N,), not {targets.dtype} "
                f"of shape {targets.shape}"
            )
        if targets.size and (targets.min() < 0 or targets.max() >= units):
            raise TrainingError(f"class numbers lie from 0 to {units - 1}, the network's last output")
        return targets

    def value(self, outputs: Array, targets: Array) -> float:
        """log Σ e^z − z[class], with the largest z taken out first."""
        self._rows(outputs, targets)
        largest = outputs.max(axis=1)
        log_sum = np.log(np.exp(outputs - largest[:, None]).sum(axis=1)) + largest
        return float(np.mean(log_sum - outputs[np.arange(len(targets)), targets], dtype=np.float64))

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """(softmax(z) − onehot(class)) / N."""
        self._rows(outputs, targets)
        grad: Array = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        grad /= grad.sum(axis=1, keepdims=True)
        grad[np.arange(len(targets)), targets] -= 1
        grad /= max(1, len(targets))
        return grad

    @staticmethod
    def _rows(outputs: Array, targets: Array) -> None:
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise TrainingError(f"outputs of shape {outputs.shape} need class numbers of shape ({len(outputs)},), "
                                f"not {targets.shape}")  # fmt: skip


def _same_shape(outputs: Array, targets: Array) -> None:
    if outputs.shape != targets.shape:
        raise TrainingError(
            f"predictions have shape {outputs.shape} and targets {targets.shape}; they must be equal "
            f"(reshape the targets, e.g. targets.reshape(-1, 1))"
        )


def _same_width(targets: Array, units: int) -> Array:
    if targets.ndim != 2 or targets.shape[1] != units:
        raise TrainingError(
            f"targets have shape {targets.shape}; a network with {units} outputs needs (N, {units}) "
            f"(reshape them, e.g. targets.reshape(-1, 1))"
        )
    return targets
