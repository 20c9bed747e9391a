"""Optimisers: how parameters follow their gradients. They update the flat buffer of a network in place."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError
from airserve.nn.network import Network

Array = npt.NDArray[Any]


class Optimiser(Protocol):
    """`state` holds what must survive a checkpoint, by name; `step` updates the parameters once."""

    state: dict[str, Array]

    def step(self, network: Network, rate: float) -> None:
        """Move the network's parameters against its gradients, by `rate`."""
        ...


class GradientDescent:
    """θ ← θ − α·(∂L/∂θ + λ·θ), with momentum v ← μ·v + gradient (Sutskever et al., ICML 2013) as an option.

    Over the whole data set it is gradient descent, over mini-batches stochastic gradient descent: the batch size of
    the training decides. The decay λ is on weights, not on biases.
    """

    def __init__(self, *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        if not 0 <= momentum < 1 or weight_decay < 0:
            raise TrainingError("momentum lies from 0 to below 1, weight decay is 0 or more")
        self._momentum = momentum
        self._weight_decay = weight_decay
        self.state: dict[str, Array] = {}

    def step(self, network: Network, rate: float) -> None:
        """One update; `rate` is α."""
        gradient = network.gradients
        if self._weight_decay:
            gradient += self._weight_decay * network.is_weight * network.parameters
        if self._momentum:
            velocity = self.state.setdefault("velocity", np.zeros_like(gradient))
            velocity *= self._momentum
            velocity += gradient
            gradient = velocity
        network.parameters -= network.dtype.type(rate) * gradient


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1), weight decay decoupled (Loshchilov and Hutter, ICLR 2019)."""

    def __init__(
        self, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1) or weight_decay < 0:
            raise TrainingError("β₁ and β₂ lie from 0 to below 1, weight decay is 0 or more")
        self._beta1, self._beta2, self._epsilon, self._weight_decay = beta1, beta2, epsilon, weight_decay
        self.state: dict[str, Array] = {}
        self._scratch: Array = np.empty(0)

    def step(self, network: Network, rate: float) -> None:
        """One update; `rate` is α. Works in two buffers, so that nothing is allocated per step."""
        g = network.gradients
        m = self.state.setdefault("mean", np.zeros_like(g))
        v = self.state.setdefault("variance", np.zeros_like(g))
        count = self.state.setdefault("count", np.zeros(1, np.int64))
        if self._scratch.shape != g.shape:
            self._scratch = np.empty_like(g)
        scratch = self._scratch
        count += 1
        t = int(count[0])
        # m ← β₁·m + (1 − β₁)·g, written as one difference
        np.subtract(g, m, out=scratch)
        scratch *= 1 - self._beta1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch -= v
        scratch *= 1 - self._beta2
        v += scratch
        # α·m̂ / (√v̂ + ε), both bias corrections drawn into α and ε (algorithm 1, §2, last paragraph)
        correction = (1 - self._beta2**t) ** 0.5
        np.sqrt(v, out=scratch)
        scratch += self._epsilon * correction
        np.divide(m, scratch, out=scratch)
        scratch *= rate * correction / (1 - self._beta1**t)
        if self._weight_decay:
            network.parameters -= (rate * self._weight_decay) * network.is_weight * network.parameters
        network.parameters -= scratch
