"""Differentially private training: DP-SGD (Abadi et al., Deep Learning with Differential Privacy, CCS 2016).

Each row is in a batch with probability q, independently of all others (Poisson sampling). The gradient of each row is
cut to a length of at most C, Gaussian noise of standard deviation σ·C is added to their sum, and the sum is divided
by the expected number of rows. So no single row moves the network by more than the noise hides; how well it hides is
ε at δ, which `airserve.nn.accountant` computes from q, σ and the number of steps.

The gradient of one row is never formed. That of a dense layer is δᵢ·xᵢᵀ, and its length ‖δᵢ‖·‖xᵢ‖ (Goodfellow,
Efficient Per-Example Gradient Computations, 2015); and since gradients flow back linearly, cutting those of a row is
the same as scaling its ∂L/∂outputs. So there is one backward pass for the lengths and one for the sum.

Which rows are drawn and the noise must stay secret, so they come from the system's entropy and not from the seed of
the run: a private run cannot be repeated to the bit. The noise is that of floating-point numbers, whose gaps a
determined observer of many runs could study (Mironov, CCS 2012); what a model is published for is not that.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError
from airserve.nn.losses import Loss
from airserve.nn.network import Network

Array = npt.NDArray[Any]


def _secret_generator() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(secrets.randbits(256)))


@dataclass(slots=True)
class Privacy:
    """How a run is kept private: `clip` is C, `noise` is σ. `generator` is for tests; leave it away."""

    clip: float
    noise: float
    generator: np.random.Generator = field(default_factory=_secret_generator, repr=False)

    def __post_init__(self) -> None:
        if not self.clip > 0 or not self.noise >= 0:
            raise TrainingError("gradients are cut to a length of more than 0, and the noise is 0 or more")

    def draw(self, rows: int, batch_size: int) -> Array:
        """The numbers of the rows of one batch: each of `rows` with probability `batch_size / rows`."""
        return np.flatnonzero(self.generator.random(rows) < batch_size / rows)

    def gradients(self, network: Network, loss: Loss, outputs: Array, targets: Array, batch_size: int) -> None:
        """Fills `network.gradients` with the private mean gradient of the batch that `forward` has just seen.

        `outputs` (n, K) and `targets` are of the rows that were drawn, which may be none; `batch_size` is how many
        were expected.
        """
        if len(outputs):
            # The losses are means over the rows; what is cut is the gradient of each row's own loss.
            grad = loss.gradient(outputs, targets) * len(outputs)
            network.backward(grad)
            lengths = np.sqrt(sum(layer.squared_lengths() for layer in network.layers))
            network.backward(grad * np.minimum(1, self.clip / np.maximum(lengths, 1e-30))[:, None].astype(grad.dtype))
        else:
            network.gradients[:] = 0
        network.gradients += self.generator.normal(0, self.noise * self.clip, network.gradients.shape)
        network.gradients /= batch_size
