"""Rows to measure a model on, as its callers would send them: pictures, texts or arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.core.tensor import NUMPY_OF, TensorSpec
from airserve.models.manifest import Manifest

T = TypeVar("T")

MOST_ROWS = 256
"""Of a larger sample so many rows are taken, spread evenly over it."""

_BATCH = 16
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def batches_of(calls: Sequence[Tensors], manifest: Manifest) -> Iterator[Tensors]:
    """The inputs of `calls`, of one row each, many rows at once where the model batches."""
    size = min(_BATCH, manifest.max_batch) or 1
    for start in range(0, len(calls), size):
        part = calls[start : start + size]
        yield part[0] if size == 1 else {name: np.concatenate([call[name] for call in part]) for name in part[0]}


def read_calls(source: Path, manifest: Manifest, *, most: int = MOST_ROWS) -> list[Tensors]:
    """Calls of one row each. `source` is a folder of pictures, an .npy, an .npz by input name, or a .txt of lines.

    A model that does not batch is called with each array along a first axis that its own shape has not; an array of its
    very shape is one call. Raises `NotFoundError`, and `InvalidInputError` for what the model does not take.
    """
    if not source.exists():
        raise NotFoundError(f"{source} does not exist; give a folder of pictures, a .txt, .npy or .npz file")
    if source.is_dir():
        return _of_elements(manifest, [file.read_bytes() for file in spread(pictures(source), most)], source)
    if source.suffix == ".txt":
        lines = [line for line in _text(source).splitlines() if line.strip()]
        return _of_elements(manifest, [line.encode() for line in spread(lines, most)], source)
    return _of_arrays(manifest, _arrays(source, manifest), source, most)


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder and those below, by their paths. Raises `InvalidInputError` where there are none."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in _PICTURES]
    if not files:
        raise InvalidInputError(f"{folder} has no pictures ({', '.join(_PICTURES)})")
    return files


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file.name} is no UTF-8 text: {error}") from None


def _of_elements(manifest: Manifest, elements: Sequence[bytes], source: Path) -> list[Tensors]:
    if [each.datatype for each in manifest.inputs] != ["BYTES"]:
        raise InvalidInputError(f"{source.name}: the model takes arrays; give them as .npy, or as .npz by input name")
    if not elements:
        raise InvalidInputError(f"{source.name} is empty")
    (spec,) = manifest.inputs
    calls = []
    for element in elements:
        array = np.empty(1, dtype=object)
        array[0] = element
        calls.append({spec.name: array.reshape([1] * len(spec.shape))})
    return calls


def _arrays(source: Path, manifest: Manifest) -> dict[str, Array]:
    try:
        if source.suffix == ".npy":
            return {manifest.inputs[0].name: np.load(source, allow_pickle=False)}
        with np.load(source, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise InvalidInputError(f"{source.name} is no NumPy file without pickles: {error}") from None


def _of_arrays(manifest: Manifest, given: dict[str, Array], source: Path, most: int) -> list[Tensors]:
    rows: dict[str, list[Array]] = {}
    for spec in manifest.signature.inputs:
        if spec.name not in given:
            raise InvalidInputError(f"{source.name} has no array '{spec.name}'; it has {', '.join(given) or 'none'}")
        rows[spec.name] = _rows(spec, given[spec.name], batches=manifest.max_batch > 0)
    counts = {len(each) for each in rows.values()}
    if len(counts) != 1 or 0 in counts:
        raise InvalidInputError(
            f"the arrays in {source.name} have {sorted(counts)} rows; all have the same, at least 1"
        )
    return [{name: rows[name][at] for name in rows} for at in spread(range(counts.pop()), most)]


def _rows(spec: TensorSpec, array: Array, *, batches: bool) -> list[Array]:
    """The array of each call."""
    if spec.datatype == "BYTES":
        raise InvalidInputError(
            f"input '{spec.name}' is BYTES; give a folder of pictures or a .txt with one text a line"
        )
    if batches:
        parts = [array[at : at + 1] for at in range(len(array))] if array.ndim else []
    else:
        parts = list(array) if array.ndim == len(spec.shape) + 1 else [array]
    for part in parts[:1]:
        if not spec.accepts(part.shape):
            raise InvalidInputError(
                f"'{spec.name}' takes {list(spec.shape)}; a row of the sample is {list(part.shape)}"
            )
    return [np.ascontiguousarray(part, NUMPY_OF[spec.datatype]) for part in parts]


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the items, as far apart as they can be: which rows of a sample `read_calls` takes."""
    return items if len(items) <= most else [items[at * len(items) // most] for at in range(most)]
