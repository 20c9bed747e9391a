"""Adds a baseline to a package: runs the model over a sample of what it was trained on, and keeps the histograms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.engines import Model, generates
from airserve.models.baseline import BASELINE_NAME, MOST_ROWS, baseline_of, render_baseline
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants, weights_of
from airserve.models.manifest import FILE_NAME, Manifest
from airserve.models.onnx_admission import admit
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import open_package, write_package
from airserve.models.sample import batches_of, read_calls

_MOST_FILES = 2000


def with_baseline(folder: Path, target: Path, data: Path, limits: OnnxLimits) -> Path:
    """Write to `target` the package in `folder` with a baseline of the sample `data`; one that it had is replaced.

    Raises `InvalidInputError` and `NotFoundError` for a sample that does not fit the model, or models without tensors.
    """
    package = open_package(folder)
    manifest = package.manifest
    check_can_have_baseline(manifest)
    if manifest.engine == "onnx":
        # As publishing does, before anything of the model runs in this process.
        for each in weights_of(manifest):
            admit(package.path(each.file), limits)
    calls = read_sample(data, manifest)
    spec = DeploymentSpec(manifest.name, 0, "", folder, manifest, ())
    with closing(LoadedVariants(spec, threads=1)) as loaded:
        baseline = baseline_of(manifest, answered(loaded.best(), manifest, calls))
    files: dict[str, bytes | Path] = {name: folder / name for name in package.files if name != FILE_NAME}
    return write_package(target, manifest, {**files, BASELINE_NAME: render_baseline(baseline)})


def check_can_have_baseline(manifest: Manifest) -> None:
    """Refuse models whose inputs are no tensors, or are nobody's to look at."""
    if generates(manifest.engine):
        raise InvalidInputError(
            "a model that generates text has no baseline: prompts are nothing to make histograms of"
        )
    if manifest.sealed is not None:
        raise InvalidInputError("a sealed model has no baseline: the service cannot see what it is called with")


def read_sample(data: Path, manifest: Manifest) -> Sequence[Tensors]:
    """Calls of one row each; of pictures not so many, since each is decoded."""
    return read_calls(data, manifest, most=_MOST_FILES if data.is_dir() else MOST_ROWS)


def answered(model: Model, manifest: Manifest, calls: Sequence[Tensors]) -> Iterator[tuple[Tensors, Tensors]]:
    """Calls with the model's answers, many rows at once where the model batches."""
    for inputs in batches_of(calls, manifest):
        yield inputs, model.run(inputs)
