"""A layer of neurons: a = W·x + b, y = f(a), for a whole batch at once.

Backward (Rumelhart, Hinton, Williams, Nature 1986): with δ = ∂L/∂y ⊙ f′(a),
∂L/∂W = δ·xᵀ, ∂L/∂b = δ, ∂L/∂x = Wᵀ·δ, summed over the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.activations import Activation
from airserve.nn.errors import TrainingError

Array = npt.NDArray[Any]


class Dense:
    """`inputs` to `units`, all connected. W is (units, inputs), b (units,); both may be views of a larger buffer."""

    def __init__(self, inputs: int, units: int, activation: Activation) -> None:
        if inputs < 1 or units < 1:
            raise TrainingError(f"a layer has at least one input and one neuron, not {inputs} and {units}")
        self.inputs = inputs
        self.units = units
        self.activation = activation
        self.w: Array = np.zeros((units, inputs), np.float32)
        self.b: Array = np.zeros(units, np.float32)
        self.grad_w: Array = np.zeros_like(self.w)
        self.grad_b: Array = np.zeros_like(self.b)
        self._x: Array | None = None
        self._y: Array | None = None
        self._delta: Array | None = None

    @property
    def size(self) -> int:
        """How many parameters the layer has."""
        return self.units * (self.inputs + 1)

    def forward(self, x: Array) -> Array:
        """y (batch, units) of x (batch, inputs); remembers both for `backward`."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise TrainingError(f"the layer takes (N, {self.inputs}), not {x.shape}")
        a = x @ self.w.T
        a += self.b
        self._x, self._y = x, self.activation.forward(a)
        return self._y

    def backward(self, grad: Array, *, input_grad: bool = True) -> Array | None:
        """Writes ∂L/∂W and ∂L/∂b from ∂L/∂y, and returns ∂L/∂x if wanted."""
        if self._x is None or self._y is None or grad.shape != self._y.shape:
            raise TrainingError("backward needs a gradient of the shape that forward has just given")
        delta = self._delta = self.activation.backward(self._y, grad)
        np.matmul(delta.T, self._x, out=self.grad_w)
        np.sum(delta, axis=0, out=self.grad_b)
        return delta @ self.w if input_grad else None

    def squared_lengths(self) -> Array:
        """‖(∂L/∂W, ∂L/∂b)‖² of each row (batch,) alone, of what `backward` has just gone through: ‖δ‖²·(‖x‖² + 1)."""
        if self._x is None or self._delta is None:
            raise TrainingError("lengths of gradients need a backward pass")
        squares: Array = np.square(self._delta, dtype=np.float64).sum(axis=1)
        squares *= np.square(self._x, dtype=np.float64).sum(axis=1) + 1
        return squares
