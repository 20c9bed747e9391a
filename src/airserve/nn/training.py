"""Training: gradient descent in all its forms is one loop; batch size, optimiser and schedule make the difference.

- gradient descent: the whole data set is one batch;
- stochastic gradient descent: mini-batches, drawn anew each epoch without replacement;
- early stopping: the parameters of the best epoch on held-back data win (Prechelt, 1998).

A run is decided by its data, its settings and its seed: on one machine it repeats to the bit, and so does one that
was interrupted and resumed from a checkpoint. A private run (`Privacy`) is not: its rows and its noise are secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError
from airserve.nn.losses import CategoricalCrossEntropy, Loss
from airserve.nn.network import Network
from airserve.nn.optimisers import Optimiser
from airserve.nn.privacy import Privacy
from airserve.nn.scaling import check_finite
from airserve.nn.schedules import Schedule

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave. `accuracy` is for classifiers; the validation figures need held-back data."""

    number: int
    rate: float
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


@dataclass(slots=True)
class Progress:
    """Where a run stands: all that a checkpoint must hold beside the network and the optimiser."""

    epoch: int = 0
    step: int = 0
    rng_state: dict[str, Any] = field(default_factory=dict)
    best_loss: float = float("inf")
    best_epoch: int = 0
    best_parameters: Array | None = None
    history: list[Epoch] = field(default_factory=list)
    stopped_early: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Rows to learn from: x (N, inputs) and targets in the form that the loss takes."""

    x: Array
    targets: Array


class Trainer:
    """One run over one network. `batch_size` None is the whole data set; `patience` in epochs needs `validation`.

    With `privacy`, batches are drawn row by row and gradients are private; `batch_size` is the expected size.
    """

    def __init__(
        self,
        network: Network,
        data: Data,
        *,
        loss: Loss,
        optimiser: Optimiser,
        schedule: Schedule,
        batch_size: int | None = None,
        validation: Data | None = None,
        patience: int | None = None,
        seed: int = 0,
        privacy: Privacy | None = None,
    ) -> None:
        if patience is not None and validation is None:
            raise TrainingError("early stopping needs held-back data to look at; give a validation set")
        if batch_size is not None and batch_size < 1:
            raise TrainingError(f"a batch has at least one row, not {batch_size}")
        self.network = network
        self.loss = loss
        self.optimiser = optimiser
        self.schedule = schedule
        self.patience = patience
        self.privacy = privacy
        self._data = self._checked(data, "training data")
        self._validation = None if validation is None else self._checked(validation, "validation data")
        self.batch_size = min(batch_size or len(self._data.x), len(self._data.x))
        self.progress = Progress()
        self._rng = np.random.default_rng(seed)

    def restore(self, progress: Progress) -> None:
        """Go on from `progress`, of a run with the same settings; network and optimiser are restored already."""
        self.progress = progress
        if progress.rng_state:
            self._rng.bit_generator.state = progress.rng_state

    def _checked(self, data: Data, what: str) -> Data:
        x = np.ascontiguousarray(data.x, self.network.dtype)
        if x.ndim != 2 or x.shape[1] != self.network.sizes[0]:
            raise TrainingError(f"the {what} have shape {x.shape}; the network takes (N, {self.network.sizes[0]})")
        if not len(x):
            raise TrainingError(f"the {what} are empty")
        if len(x) != len(data.targets):
            raise TrainingError(f"the {what} have {len(x)} rows and {len(data.targets)} targets")
        check_finite(x, f"the {what}")
        targets = self.loss.check(np.asarray(data.targets), self.network.sizes[-1])
        if targets.dtype.kind == "f":
            check_finite(targets, "the targets")
            targets = np.ascontiguousarray(targets, self.network.dtype)
        return Data(x, targets)

    def run(self, epochs: int, on_epoch: Callable[[Epoch], None] | None = None) -> list[Epoch]:
        """Train until `epochs` epochs are done in all, or early stopping ends it; the history.

        `on_epoch` is called after each epoch, when `progress` is whole and may be saved. At the end the network has
        the parameters of the best epoch on the validation data, where there are any.
        """
        progress = self.progress
        while progress.epoch < epochs and not progress.stopped_early:
            epoch = self._epoch()
            if self._validation is not None and self.patience is not None:
                progress.stopped_early = progress.epoch - progress.best_epoch >= self.patience
            if on_epoch is not None:
                on_epoch(epoch)
        if progress.best_parameters is not None:
            self.network.parameters[:] = progress.best_parameters
        return progress.history

    def _epoch(self) -> Epoch:
        progress, started = self.progress, time.perf_counter()
        total, right, seen, rate = 0.0, 0, 0, 0.0
        for batch, wanted in self._batches() if self.privacy is None else self._private_batches(self.privacy):
            rate = self.schedule.rate(progress.step if self.schedule.per == "step" else progress.epoch)
            outputs = self.network.forward(batch)
            if len(batch):
                total += self.loss.value(outputs, wanted) * len(batch)
                right += _right(self.loss, outputs, wanted) or 0
                seen += len(batch)
            if self.privacy is None:
                self.network.backward(self.loss.gradient(outputs, wanted))
            else:
                self.privacy.gradients(self.network, self.loss, outputs, wanted, self.batch_size)
            self.optimiser.step(self.network, rate)
            progress.step += 1
        if not np.isfinite(total):
            raise TrainingError(
                f"the loss is no number any more after epoch {progress.epoch + 1}: the learning rate {rate:g} is too "
                "large for these data; try a tenth of it"
            )
        progress.epoch += 1
        seen = max(1, seen)
        epoch = self._summary(rate, total / seen, right / seen, time.perf_counter() - started)
        progress.history.append(epoch)
        progress.rng_state = dict(self._rng.bit_generator.state)
        return epoch

    def _batches(self) -> Iterator[tuple[Array, Array]]:
        """Every row once, in a new order."""
        data, size = self._data, self.batch_size
        x, targets = data.x, data.targets
        if size < len(x):
            order = self._rng.permutation(len(x))
            x, targets = x[order], targets[order]
        for start in range(0, len(x), size):
            yield x[start : start + size], targets[start : start + size]

    def _private_batches(self, privacy: Privacy) -> Iterator[tuple[Array, Array]]:
        """As many batches as an epoch has, each drawn from all rows."""
        for _ in range(self.steps_per_epoch):
            rows = privacy.draw(len(self._data.x), self.batch_size)
            yield self._data.x[rows], self._data.targets[rows]

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._data.x) // self.batch_size)

    @property
    def sampling_rate(self) -> float:
        """With what probability a row is in a private batch."""
        return self.batch_size / len(self._data.x)

    def _summary(self, rate: float, loss: float, accuracy: float, seconds: float) -> Epoch:
        progress = self.progress
        validation_loss = validation_accuracy = None
        if self._validation is not None:
            outputs = self.network.forward(self._validation.x)
            validation_loss = self.loss.value(outputs, self._validation.targets)
            right = _right(self.loss, outputs, self._validation.targets)
            validation_accuracy = None if right is None else right / len(outputs)
            if validation_loss < progress.best_loss:
                progress.best_loss, progress.best_epoch = validation_loss, progress.epoch
                progress.best_parameters = self.network.parameters.copy()
        classifies = self.loss.output != "identity"
        return Epoch(
            number=progress.epoch,
            rate=rate,
            loss=loss,
            accuracy=accuracy if classifies else None,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=seconds,
        )


def _right(loss: Loss, outputs: Array, targets: Array) -> int | None:
    """How many rows a classifier got right; None for a regression."""
    if isinstance(loss, CategoricalCrossEntropy):
        return int(np.count_nonzero(outputs.argmax(axis=1) == targets))
    if loss.output == "sigmoid":
        return int(np.count_nonzero(((outputs > 0) == (targets > 0.5)).all(axis=1)))
    return None
