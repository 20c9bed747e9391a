"""A package of a picture classifier: an ONNX graph, its labels, and how pictures become its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from airserve.core.errors import BadPackageError
from airserve.core.tensor import Signature, TensorSpec
from airserve.engines.options import Vision
from airserve.engines.session import Session
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, check_manifest, tensor
from airserve.models.onnx_import import read_signature
from airserve.models.package import write_package
from airserve.models.steps import vision_signature

WEIGHTS = "model.onnx"


def package_vision(
    onnx_path: Path,
    folder: Path,
    *,
    name: str,
    labels: Sequence[str],
    vision: Vision,
    max_batch: int = DEFAULT_MAX_BATCH,
    description: str = "",
    licence: str = "",
) -> Path:
    """Make a package in `folder`, and run the model on a picture before.

    `labels` are the names of the model's classes in its order; with none of them a class is its number. Raises
    `BadPackageError` with the reason if it cannot be.
    """
    inputs, outputs = read_signature(onnx_path)
    classes = _classes(onnx_path.name, inputs, outputs, vision, len(labels))
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=tuple(map(tensor, vision_signature(1)[0])),
        outputs=tuple(map(tensor, vision_signature(min(vision.top_k, classes))[1])),
        variants=(Variant("original", WEIGHTS, onnx_path.stat().st_size),),
        max_batch=max_batch,
        labels=tuple(labels),
        vision=vision,
        description=description,
        licence=licence,
    )
    check_manifest(manifest)
    _try(onnx_path, manifest.signature, vision, tuple(labels))
    return write_package(folder, manifest, {WEIGHTS: onnx_path})


def _classes(
    file: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], vision: Vision, labels: int
) -> int:
    side = vision.size
    wanted = (-1, 3, side, side) if vision.layout == "NCHW" else (-1, side, side, 3)
    given = inputs[0]
    if len(inputs) != 1 or given.datatype != "FP32" or len(given.shape) != 4 or given.shape[0] != -1:
        raise BadPackageError(f"{file} does not take one FP32 tensor of pictures {list(wanted)}, the first axis free")
    if any(have not in (-1, want) for have, want in zip(given.shape, wanted, strict=True)):
        raise BadPackageError(f"{file} takes {list(given.shape)}, but [vision] makes {list(wanted)}; see size, layout")
    scores = outputs[0]
    if scores.datatype != "FP32" or len(scores.shape) < 2 or scores.shape[0] != -1:
        raise BadPackageError(f"{file} does not give FP32 scores [-1, classes] first")
    sizes = scores.shape[1:]
    classes = labels if -1 in sizes else math.prod(sizes)
    if not classes:
        raise BadPackageError(f"{file} does not say how many classes it tells apart; give their labels")
    if labels not in (0, classes):
        raise BadPackageError(f"{file} tells {classes} classes apart, but there are {labels} labels")
    return classes


def _try(path: Path, signature: Signature, vision: Vision, labels: tuple[str, ...]) -> None:
    # Only here, since packages without this step need no Pillow.
    from airserve.engines.vision import VisionModel

    model = VisionModel(Session(path, threads=1), signature, vision, labels)
    try:
        model.run(model.example(2))
    finally:
        model.close()
