"""A small convolutional student for pictures as arrays, in PyTorch.

Two convolutions with ReLU and pooling, means over a grid of about 4 × 4 fields of the picture, and a dense layer. Where
pictures may have any size the grid is one field: then nothing tells it where in the picture something is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from airserve.core.call import Array
from airserve.models.importers.torch_module import export_graph
from airserve.models.optimise.teaching import Lesson
from airserve.models.optimise.torch_training import train

_FIELDS = 4
_SEED = 3


def teach_convolutions(whole: Lesson, target: Path, channels: tuple[int, int], sides: tuple[int, int] | None) -> None:
    """Teach a student with so many channels in its convolutions, and write its graph to `target`: input x, output y.

    `sides` are height and width of all pictures, at least 2 each; None where they are free.
    """
    ((name, rows),) = whole.inputs.items()
    layers = _layers(rows, whole, channels, sides)
    ends = [torch.nn.Softmax(dim=1)] if whole.probable else []
    student = torch.nn.Sequential(*layers, *ends)
    train(lambda inputs: student(torch.from_numpy(inputs[name])), list(student.parameters()), whole)
    student.eval()
    export_graph(student, (torch.from_numpy(rows[:2]),), target, {"x": {0: "batch"}}, ("y",))


def _layers(rows: Array, whole: Lesson, channels: tuple[int, int], sides: tuple[int, int] | None) -> list[Any]:
    (first, second), answers = channels, whole.answers
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        layers = [
            torch.nn.Conv2d(rows.shape[1], first, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(first, second, 3, padding=1),
            torch.nn.ReLU(),
            _grid(sides),
            torch.nn.Flatten(),
        ]
        with torch.inference_mode():
            features = torch.nn.Sequential(*layers)(torch.from_numpy(rows[:1])).shape[1]
        layers.append(torch.nn.Linear(features, answers.shape[1]))
    with torch.no_grad():
        # The inputs' scale goes into the first layer, that of values into the last: the graph has no more nodes for it.
        mean = rows.mean(axis=(0, 2, 3), dtype=np.float64)
        deviation = np.maximum(rows.std(axis=(0, 2, 3), dtype=np.float64), 1e-6)
        weight = layers[0].weight
        weight /= torch.from_numpy(deviation.astype(np.float32)).reshape(1, -1, 1, 1)
        layers[0].bias -= (weight * torch.from_numpy(mean.astype(np.float32)).reshape(1, -1, 1, 1)).sum(dim=(1, 2, 3))
        if not whole.classifies:
            layers[-1].weight *= torch.from_numpy(np.sqrt(whole.spread)).reshape(-1, 1)
        layers[-1].bias += torch.from_numpy(answers.mean(axis=0))
    return layers


def _grid(sides: tuple[int, int] | None) -> Any:
    """Means over fields of a halved picture, `sides` being those of the whole; over all of it where they are free."""
    if sides is None:
        return torch.nn.AdaptiveAvgPool2d(1)
    height, width = (max(1, side // 2 // _FIELDS) for side in sides)
    return torch.nn.AvgPool2d((height, width))
