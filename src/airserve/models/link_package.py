"""What makes a package ready for slow links: codecs with their accuracy, weights for devices, determinism."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from airserve.core.errors import AirserveError, BadPackageError, InvalidInputError, NotFoundError
from airserve.engines import Model, generates, load_model
from airserve.models.catalog import DeploymentSpec
from airserve.models.codec_accuracy import Exact, agreement, measure, run_calls, run_exact
from airserve.models.manifest import FILE_NAME, CodecEntry, Manifest, Variant
from airserve.models.onnx_admission import admit
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import Package, open_package, write_package
from airserve.models.sample import read_calls

DEVICE = "device"
DEVICE_FILE = "device.onnx"
SAME = "same"
"""In place of a file: the device gets the weights that are served."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What to add. `codecs` are candidates to measure on the sample `data`, none for the usual ones, None for no codec.

    `device` is an ONNX file, or `SAME`. Codecs below the accuracy `floor`, 0 to 1, are not listed.
    """

    codecs: Sequence[str] | None = None
    data: Path | None = None
    floor: float = 0.98
    device: str | None = None
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """The package's new folder, and every codec that was measured, listed or not."""

    folder: Path
    measured: tuple[CodecEntry, ...]


def prepare(folder: Path, target: Path, options: LinkOptions, limits: OnnxLimits) -> Prepared:
    """Write to `target` the package in `folder` with what `options` ask for.

    Raises `InvalidInputError`, `NotFoundError` and `BadPackageError` for what does not fit the model.
    """
    package = open_package(folder)
    manifest = package.manifest
    _check(manifest, options)
    files: dict[str, bytes | Path] = {name: folder / name for name in package.files if name != FILE_NAME}
    if options.deterministic:
        manifest = msgspec.structs.replace(manifest, deterministic=True)
    _admit(package, limits)
    exact: Exact | None = None
    measured: list[CodecEntry] = []
    if options.data is not None:
        with closing(_load(folder, manifest, manifest.variants[0].file)) as model:
            exact = run_exact(model, manifest, read_calls(options.data, manifest))
            if options.codecs is not None:
                measured = measure(model, manifest, exact, options.codecs or None)
                listed = tuple(each for each in measured if (each.accuracy or 0.0) >= options.floor)
                manifest = msgspec.structs.replace(manifest, codecs=listed)
    if options.device == SAME:
        best = manifest.best
        manifest = msgspec.structs.replace(
            manifest, device=best.name if best.cascade is None else manifest.variants[0].name
        )
    elif options.device is not None:
        file = Path(options.device)
        manifest = _with_device(manifest, _variant(folder, manifest, file, exact, limits))
        files[DEVICE_FILE] = file
    return Prepared(write_package(target, manifest, files), tuple(measured))


def _check(manifest: Manifest, options: LinkOptions) -> None:
    if options.codecs is not None and options.data is None:
        raise InvalidInputError("--codecs measures accuracy on a sample: give it with --data")
    if options.data is not None and options.codecs is None and options.device is None:
        raise InvalidInputError("--data is what --codecs and --device are measured on; give one of them")
    if not 0.0 <= options.floor <= 1.0:
        raise InvalidInputError("--min-accuracy is between 0 and 1")
    if generates(manifest.engine):
        raise InvalidInputError("a model that generates text has no tensors to code, and no weights for devices")
    if manifest.sealed is not None and (options.codecs is not None or options.device is not None):
        raise InvalidInputError("a sealed model takes no codecs and gives out no weights: nobody else sees its tensors")


def _admit(package: Package, limits: OnnxLimits) -> None:
    # As publishing does, before anything of the model runs in this process.
    if package.manifest.engine == "onnx":
        for name in {variant.file for variant in package.manifest.variants if variant.cascade is None}:
            admit(package.path(name), limits)


def _load(folder: Path, manifest: Manifest, file: str) -> Model:
    changed = msgspec.structs.replace(manifest, variants=(Variant("measured", file, 0),), device=None)
    return load_model(manifest.engine, DeploymentSpec(manifest.name, 0, "", folder, changed, ()).source, threads=1)


def _variant(folder: Path, manifest: Manifest, file: Path, exact: Exact | None, limits: OnnxLimits) -> Variant:
    """The weights in `file`, tried; with their agreement where there is a sample."""
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist; --device is an .onnx file, or '{SAME}' for the served weights")
    admit(file, limits)
    variant = Variant(DEVICE, DEVICE_FILE, file.stat().st_size)
    try:
        # An absolute name: the weights are not in the package's folder yet, its tokenizer is.
        with closing(_load(folder, manifest, str(file.resolve()))) as model:
            if exact is None:
                model.run(model.example(1))
                return variant
            answers = run_calls(model, manifest, exact.calls)
    except AirserveError as error:
        raise BadPackageError(f"{file.name} cannot take the place of the model on a device: {error.message}") from None
    metric, accuracy = agreement(manifest, answers, exact.answers)
    return msgspec.structs.replace(variant, accuracy=round(accuracy, 6), metric=metric)


def _with_device(manifest: Manifest, variant: Variant) -> Manifest:
    others = tuple(each for each in manifest.variants if each.name != DEVICE)
    return msgspec.structs.replace(manifest, variants=(*others, variant), device=DEVICE)
