"""A network: layers in a row, all their parameters in one buffer, so that an optimiser updates them in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.activations import IDENTITY, activation
from airserve.nn.errors import TrainingError
from airserve.nn.initialisation import glorot, he
from airserve.nn.layers import Dense

Array = npt.NDArray[Any]


class Network:
    """`sizes` such as (64, 128, 10): inputs, hidden layers, outputs.

    Hidden layers use `hidden`; the last layer is linear, and `output` is applied to it by `predict` alone: the
    cross-entropies are computed from the linear outputs (logits), which is stable. `parameters` and `gradients` are
    flat buffers that the layers' arrays are views of.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        hidden: str = "relu",
        output: str = "identity",
        seed: int = 0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if len(sizes) < 2:
            raise TrainingError("a network has at least inputs and outputs, such as (64, 10)")
        self.sizes = tuple(int(size) for size in sizes)
        self.hidden = activation(hidden)
        self.output = activation(output)
        last = len(self.sizes) - 2
        self.layers = [
            Dense(inputs, units, IDENTITY if index == last else self.hidden)
            for index, (inputs, units) in enumerate(zip(self.sizes, self.sizes[1:], strict=False))
        ]
        count = sum(layer.size for layer in self.layers)
        self.parameters: Array = np.zeros(count, dtype)
        self.gradients: Array = np.zeros(count, dtype)
        self.is_weight = np.zeros(count, dtype)
        self._place_layers()
        rng = np.random.default_rng(seed)
        for layer in self.layers:
            draw = he if layer.activation.gain == 2.0 else glorot
            layer.w[:] = draw(rng, layer.inputs, layer.units)

    def _place_layers(self) -> None:
        start = 0
        for layer in self.layers:
            middle, end = start + layer.units * layer.inputs, start + layer.size
            shape = (layer.units, layer.inputs)
            layer.w, layer.b = self.parameters[start:middle].reshape(shape), self.parameters[middle:end]
            layer.grad_w, layer.grad_b = self.gradients[start:middle].reshape(shape), self.gradients[middle:end]
            self.is_weight[start:middle] = 1
            start = end

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters and activations: float32, or float64 for checking gradients."""
        return self.parameters.dtype

    def forward(self, x: Array) -> Array:
        """The linear outputs (N, K) of x (N, inputs): logits for a classifier."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: Array) -> None:
        """Fills `gradients` from ∂L/∂outputs, of what `forward` has just computed."""
        flow: Array | None = grad
        for index in range(len(self.layers) - 1, -1, -1):
            assert flow is not None, "every layer but the first passes its gradient on"  # noqa: S101
            flow = self.layers[index].backward(flow, input_grad=index > 0)

    def predict(self, x: Array) -> Array:
        """The outputs (N, K) for people: probabilities for a classifier, values for a regression."""
        return self.output.forward(self.forward(np.ascontiguousarray(x, self.dtype)))
