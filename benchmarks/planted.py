"""The same weights behind other preprocessing: what a careless export does to a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper

from airserve.models.manifest import FILE_NAME
from airserve.models.package import open_package, write_package

MIRRORED = tuple(int(column) for column in np.arange(64).reshape(8, 8).T.ravel())
"""The columns of a picture of 8×8 pixels when it was written column by column: it is mirrored at its diagonal."""


def reordered(folder: Path, target: Path, order: Sequence[int]) -> Path:
    """The package in `folder`, in `target`, as a model that takes the columns of its only input in this order."""
    package = open_package(folder)
    (variant,) = package.manifest.variants
    model = onnx.load(package.path(variant.file))
    (name,) = [each.name for each in model.graph.input]
    for node in model.graph.node:
        node.input[:] = ["planted" if each == name else each for each in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array(order, np.int64), "order"))
    model.graph.node.insert(0, helper.make_node("Gather", [name, "order"], ["planted"], axis=1))
    weights = model.SerializeToString()
    files: dict[str, bytes | Path] = {file: package.path(file) for file in package.files if file != FILE_NAME}
    changed = msgspec.structs.replace(variant, size_bytes=len(weights))
    manifest = msgspec.structs.replace(package.manifest, variants=(changed,))
    return write_package(target, manifest, {**files, variant.file: weights})
