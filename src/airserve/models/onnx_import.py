"""Make a package of a bare `model.onnx`. The graph is tried before, in a process of its own (`onnx_admission.py`)."""

from __future__ import annotations

from pathlib import Path

from airserve.core.errors import BadPackageError
from airserve.core.tensor import TensorSpec
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, tensor
from airserve.models.onnx_admission import admit
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import write_package


def package_onnx(
    path: Path, folder: Path, *, name: str, max_batch: int | None = None, limits: OnnxLimits | None = None
) -> Path:
    """Make a package in `folder` of the graph in `path`. Raises `BadPackageError` with the reason if it cannot be."""
    inputs, outputs = read_signature(path, limits)
    free = all(spec.shape and spec.shape[0] == -1 for spec in (*inputs, *outputs))
    if max_batch is None:
        max_batch = DEFAULT_MAX_BATCH if free else 0
    elif max_batch > 1 and not free:
        raise BadPackageError(f"{path.name} does not batch: the first axis of every input and output must be free")
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=tuple(map(tensor, inputs)),
        outputs=tuple(map(tensor, outputs)),
        variants=(Variant("original", "model.onnx", path.stat().st_size),),
        max_batch=max_batch if free else 0,
    )
    return write_package(folder, manifest, {"model.onnx": path})


def read_signature(
    path: Path, limits: OnnxLimits | None = None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of the graph in `path`, which loads and runs. Raises as `admit` does."""
    admitted = admit(path, limits)
    return admitted.inputs, admitted.outputs
