"""Originals that can be pruned and distilled: trained in a second, on scans of digits that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits

from airserve.cli.training import Recipe, train_to_package
from airserve.core.call import Array
from airserve.engines.session import Session
from airserve.models.importers.torch_module import import_module
from airserve.models.optimise.method import Original, Training
from airserve.models.package import open_package

_TRAINED = 1300


def digits() -> tuple[Array, Array]:
    """All scans, float32 [1797, 64] from 0 to 16, and the digit on each, int64."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order].astype(np.float32), y[order].astype(np.int64)


def dense(folder: Path, *, labelled: bool = True) -> Original:
    """A network of `airserve.nn` in `folder`, made where it is not there, with rows to learn from."""
    if not folder.exists():
        train_to_package("sklearn:digits", folder, name="digits", recipe=Recipe(hidden=(96, 64), epochs=12))
    x, y = digits()
    training = Training({"x": x[:_TRAINED]}, y[:_TRAINED] if labelled else None)
    return Original(folder, open_package(folder).manifest, training=training)


def values(folder: Path) -> Original:
    """A regression: the course of diabetes a year on."""
    if not folder.exists():
        train_to_package("sklearn:diabetes", folder, name="diabetes", recipe=Recipe(hidden=(64,), epochs=20))
    x = load_diabetes().data.astype(np.float32)
    return Original(folder, open_package(folder).manifest, training=Training({"x": x}, None))


def convolutional(folder: Path) -> Original:
    """A small network of PyTorch for 1×8×8 pixels that gives logits, with a depthwise convolution."""
    x, y = digits()
    pixels = x.reshape(-1, 1, 8, 8) / 16
    if not folder.exists():
        import_module(_trained(pixels[:_TRAINED], y[:_TRAINED]), pixels[:4], folder, name="conv", outputs=("scores",))
    manifest = msgspec.structs.replace(open_package(folder).manifest, labels=tuple("0123456789"))
    return Original(folder, manifest, training=Training({"x": pixels[:_TRAINED]}, y[:_TRAINED]))


def _trained(pixels: Array, y: Array) -> torch.nn.Module:
    nn = torch.nn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(),
            nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * 16, 48), nn.ReLU(), nn.Linear(48, 10),
        )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for start in [*range(0, len(pixels), 64)] * 8:
        rows = slice(start, start + 64)
        loss = nn.functional.cross_entropy(network(torch.from_numpy(pixels[rows])), torch.from_numpy(y[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.set_num_threads(threads)
    return network.eval()


def right(file: Path, original: Original) -> float:
    """The share of the digits that were not learned from, which the graph in `file` tells right."""
    x, y = digits()
    spec, scores = original.manifest.inputs[0], original.manifest.outputs[0].name
    rows = x[_TRAINED:] if len(spec.shape) == 2 else x[_TRAINED:].reshape(-1, 1, 8, 8) / 16
    session = Session(file, threads=1)
    found = session.run({spec.name: rows}, [scores])[scores]
    session.close()
    return float(np.mean(found.argmax(1) == y[_TRAINED:]))
