"""Two convolutional nets trained on handwritten digits, a wide one and a narrow one, as two variants of one package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.package import open_package, write_package

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_WIDE, _NARROW = (160, 6), (12, 3)
"""Channels and layers."""
_EPOCHS = {_WIDE: 6, _NARROW: 12}
_BATCH, _RATE = 64, 3e-3
_OPSET = 17


def held_out() -> tuple[Images, Labels]:
    """The digits that neither net has seen: images FP32 [n, 1, 8, 8], classes [n]."""
    _, images, _, labels = _split()
    return images, labels


def make(folder: Path) -> Path:
    """The package, with the accuracy of each variant on the digits that it has not seen."""
    images, labels = held_out()
    variants, files = [], {}
    for name, shape in (("wide", _WIDE), ("narrow", _NARROW)):
        file = folder / f"{name}.onnx"
        _export(_trained(shape), file)
        right = _answers(file, images) == labels
        variants.append(
            Variant(name, file.name, file.stat().st_size, round(float(right.mean()), 4), "top-1", rows=len(labels))
        )
        files[file.name] = file
    manifest = Manifest(
        name="digits",
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, 1, 8, 8)),),
        outputs=(Tensor("scores", "FP32", (-1, 10)),),
        variants=tuple(variants),
        labels=tuple("0123456789"),
        max_batch=8,
        default_deadline_ms=10_000,
    )
    return write_package(folder / "package", manifest, files)


def accuracies(package: Path) -> dict[str, float]:
    """What the manifest says of each variant."""
    return {each.name: each.accuracy or 0.0 for each in open_package(package).manifest.variants}


def _split() -> tuple[Images, Images, Labels, Labels]:
    digits = load_digits()
    images = (digits.images[:, None] / 16.0).astype(np.float32)
    seen, unseen, labels, unseen_labels = train_test_split(
        images, digits.target.astype(np.int64), test_size=0.4, random_state=0, stratify=digits.target
    )
    return seen, unseen, labels, unseen_labels


def _trained(shape: tuple[int, int]) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    images, _, labels, _ = (torch.from_numpy(each) for each in _split())
    channels, layers = shape
    stack: list[nn.Module] = []
    for layer in range(layers):
        stack += [nn.Conv2d(channels if layer else 1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    network = nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    steps = _EPOCHS[shape] * -(-len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_RATE, total_steps=steps)
    for _ in range(_EPOCHS[shape]):
        for rows in torch.randperm(len(images)).split(_BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _export(network: Any, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, 8, 8),),
            path,
            input_names=["x"],
            output_names=["scores"],
            dynamic_axes={"x": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _answers(file: Path, images: Images) -> Labels:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {"x": images})[0]).argmax(1).astype(np.int64)
