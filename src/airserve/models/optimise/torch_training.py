"""Gradient descent in PyTorch until held-back rows say that it is enough.

Adam (Kingma and Ba, 2015) on a cosine from `_RATE` to nothing; the best epoch's weights stay (Prechelt, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from airserve.core.call import Tensors
from airserve.core.errors import ModelFailedError
from airserve.models.optimise.teaching import Lesson, divided, torch_loss

_RATE = 2e-3
_BATCH = 64
_STEPS = 1200
_EPOCHS = (3, 200)
"""As many as make so many steps, within these bounds."""
_PATIENCE = 10
_SEED = 5

Student = Callable[[Tensors], Any]
"""From rows, by input, to outputs in PyTorch."""


def train(student: Student, parameters: Sequence[Any], whole: Lesson) -> float:
    """Teach `student`, whose weights are `parameters`, in place; its loss on rows that were held back.

    The weights that it began with count as an epoch. Raises `ModelFailedError` where all there is are no numbers.
    """
    learned, held = divided(whole)
    steps = -(-len(learned) // _BATCH)
    epochs = int(np.clip(_STEPS // steps, *_EPOCHS))
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    random = np.random.default_rng(_SEED)
    with _one_thread():
        best, since, kept = _held_loss(student, held), 0, _copies(parameters)
        for _ in range(epochs):
            order = random.permutation(len(learned))
            for start in range(0, len(order), _BATCH):
                rows = learned.part(order[start : start + _BATCH])
                optimiser.zero_grad()
                torch_loss(student(rows.inputs), rows).backward()
                optimiser.step()
                schedule.step()
            now = _held_loss(student, held)
            if now < best:
                best, since, kept = now, 0, _copies(parameters)
            elif (since := since + 1) >= _PATIENCE:
                break
    if not np.isfinite(best):
        raise ModelFailedError("learning ended in values that are no numbers")
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return best


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches of small networks are over before a second thread is awake: ten times as fast on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _held_loss(student: Student, held: Lesson) -> float:
    with torch.inference_mode():
        value = float(torch_loss(student(held.inputs), held))
    return value if np.isfinite(value) else float("inf")


def _copies(parameters: Sequence[Any]) -> list[Any]:
    return [parameter.detach().clone() for parameter in parameters]
