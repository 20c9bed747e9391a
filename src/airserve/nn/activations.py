"""Activation functions f and what they do to a gradient: δ = ∂L/∂y ⊙ f′(a), for y = f(a).

All arrays are (batch, units), float32 or float64. Source: Goodfellow, Bengio, Courville, Deep Learning, §6.2–6.3, §6.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Activation:
    """`forward(a)` gives y; `backward(y, grad)` turns ∂L/∂y into δ = ∂L/∂a. Both may reuse their argument's memory.

    Every f′ here can be written in terms of y alone, so a is not kept. `gain` is the variance that initialisation
    has to make up for: 2 for ReLU (He et al. 2015), 1 for the others (Glorot and Bengio 2010).
    """

    name: str
    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array], Array]
    gain: float = 1.0


def _sigmoid(a: Array) -> Array:
    # exp of a positive number may overflow; of minus its absolute value it cannot.
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e)).astype(a.dtype, copy=False)


def _sigmoid_back(y: Array, grad: Array) -> Array:
    delta: Array = grad * y * (1 - y)
    return delta


def _tanh_back(y: Array, grad: Array) -> Array:
    delta: Array = grad * (1 - y * y)
    return delta


def _relu(a: Array) -> Array:
    return np.maximum(a, 0, out=a)


def _relu_back(y: Array, grad: Array) -> Array:
    return np.multiply(grad, y > 0, out=grad)


def _softmax(a: Array) -> Array:
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    y: Array = e / e.sum(axis=-1, keepdims=True)
    return y


def _softmax_back(y: Array, grad: Array) -> Array:
    # The Jacobian is diag(y) − y·yᵀ; its product with the gradient needs no matrix.
    delta: Array = y * (grad - (grad * y).sum(axis=-1, keepdims=True))
    return delta


IDENTITY = Activation("identity", lambda a: a, lambda _, grad: grad)
SIGMOID = Activation("sigmoid", _sigmoid, _sigmoid_back)
TANH = Activation("tanh", lambda a: np.tanh(a, out=a), _tanh_back)
RELU = Activation("relu", _relu, _relu_back, gain=2.0)
SOFTMAX = Activation("softmax", _softmax, _softmax_back)

ACTIVATIONS = {each.name: each for each in (IDENTITY, SIGMOID, TANH, RELU, SOFTMAX)}


def activation(name: str) -> Activation:
    """The activation called `name`."""
    if name not in ACTIVATIONS:
        raise TrainingError(f"no activation '{name}'; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
