"""The sample that variants are measured on: calls, their classes where somebody knows them, and its two parts.

A part of it is for calibration: ranges of activations, the temperature and the threshold of a cascade. Accuracy is
measured on the other, so nothing is praised for what it was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.models.manifest import Manifest
from airserve.models.optimise.method import Training
from airserve.models.sample import pictures, read_calls, spread

MOST_ROWS = 1000
_CALIBRATION_SHARE = 3
_MOST_CALIBRATION = 300
_LEAST_ROWS = 8
_SEED = 7


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """Calls of one row each in two parts; `truth` and `calibration_truth` are their classes, int64, or None."""

    calibration: Sequence[Tensors]
    calls: Sequence[Tensors]
    truth: Array | None = None
    calibration_truth: Array | None = None


def read_labelled(source: Path, manifest: Manifest, labels: Path | None, *, most: int = MOST_ROWS) -> LabelledSample:
    """At most `most` rows of `source`, a third of them (at most 300) for calibration, drawn with a fixed seed.

    `labels` is an .npy of class indices or a text file with a class, its name or index, a line. A folder of pictures
    with a subfolder for each class says the classes itself. Raises as `read_calls` does, and `InvalidInputError` for
    labels that do not fit and for a sample of fewer than 8 rows.
    """
    truth = _of_folders(source, manifest) if labels is None else read_labels(labels, manifest)
    if truth is None:
        calls = read_calls(source, manifest, most=most)
    else:
        # One more than there are labels, to notice a row without.
        calls = read_calls(source, manifest, most=len(truth) + 1)
        if len(calls) != len(truth):
            more = "or more " if len(calls) > len(truth) else ""
            raise InvalidInputError(
                f"there are {len(truth)} labels for {len(calls)} {more}rows of {source.name}; each row has one"
            )
        rows = spread(range(len(truth)), most)
        calls, truth = [calls[row] for row in rows], truth[list(rows)]
    if len(calls) < _LEAST_ROWS:
        raise InvalidInputError(f"{source.name} has {len(calls)} rows; give {_LEAST_ROWS} or more, better hundreds")
    return _divided(calls, truth)


def _divided(calls: Sequence[Tensors], truth: Array | None) -> LabelledSample:
    order = np.random.default_rng(_SEED).permutation(len(calls))
    count = min(len(calls) // _CALIBRATION_SHARE, _MOST_CALIBRATION)
    first, rest = order[:count], order[count:]
    return LabelledSample(
        [calls[row] for row in first],
        [calls[row] for row in rest],
        None if truth is None else truth[rest],
        None if truth is None else truth[first],
    )


def read_labels(file: Path, manifest: Manifest) -> Array:
    """The class indices in a file, int64 [rows]."""
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist; --labels is an .npy, or a text file with a class a line")
    if file.suffix == ".npy":
        try:
            return class_indices(np.load(file, allow_pickle=False).ravel(), manifest, file.name)
        except (ValueError, OSError, EOFError) as error:
            raise InvalidInputError(f"{file.name} is no NumPy file without pickles: {error}") from None
    try:
        lines = file.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file.name} is no UTF-8 text: {error}") from None
    return class_indices([line.strip() for line in lines if line.strip()], manifest, file.name)


def class_indices(given: Sequence[object] | Array, manifest: Manifest, source: str) -> Array:
    """Classes by name or number as indices, int64. Raises `InvalidInputError` for one that the model does not know."""
    known = {name: index for index, name in enumerate(manifest.labels)}
    if len(known) < 2:
        raise InvalidInputError(f"{source}: labels are for classifiers; '{manifest.name}' names no classes")
    found = []
    for each in given:
        text = str(each)
        index = known.get(text, int(text) if text.isdecimal() else -1)
        if not 0 <= index < len(known):
            raise InvalidInputError(f"{source}: '{text[:80]}' is none of the {len(known)} classes of '{manifest.name}'")
        found.append(index)
    return np.array(found, np.int64)


def read_training(file: Path, manifest: Manifest) -> Training:
    """The training set in an .npz: each input by its name, and `labels` where they are known."""
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist; --train is an .npz with the inputs by name, and labels")
    try:
        with np.load(file, allow_pickle=False) as archive:
            given = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise InvalidInputError(f"{file.name} is no .npz without pickles: {error}") from None
    inputs = {}
    for spec in manifest.signature.inputs:
        if spec.name not in given:
            raise InvalidInputError(f"{file.name} has no array '{spec.name}'; it has {', '.join(given) or 'none'}")
        array = given[spec.name]
        if spec.datatype == "BYTES" or not spec.accepts(array.shape):
            raise InvalidInputError(f"{file.name}: '{spec.name}' takes {spec.datatype} {list(spec.shape)} of numbers")
        inputs[spec.name] = np.ascontiguousarray(array, spec.dtype)
    labels = class_indices(given["labels"].ravel(), manifest, file.name) if "labels" in given else None
    if len({len(array) for array in (*inputs.values(), *(() if labels is None else (labels,)))}) != 1:
        raise InvalidInputError(f"the arrays in {file.name} have different numbers of rows")
    return Training(inputs, labels)


def _of_folders(source: Path, manifest: Manifest) -> Array | None:
    """The classes that the subfolders of pictures name; None where they are no classes."""
    if not source.is_dir() or len(manifest.labels) < 2:
        return None
    parts = [file.relative_to(source).parts for file in pictures(source)]
    if any(len(each) < 2 for each in parts):
        return None
    try:
        return class_indices([each[0] for each in parts], manifest, source.name)
    except InvalidInputError:
        return None
