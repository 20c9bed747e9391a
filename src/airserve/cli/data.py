"""Reading data sets for `airserve train`: CSV, Parquet, NumPy archives, and those that scikit-learn carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.core.errors import InvalidInputError, NotFoundError

Array = npt.NDArray[Any]

_MAX_CLASSES = 1000
_CLASSES_OF_INTEGERS = 50


@dataclass(frozen=True, slots=True)
class Dataset:
    """x (N, columns) float32; targets: class numbers (N,) where `labels` names classes, else values (N, K) float32."""

    x: Array
    targets: Array
    labels: tuple[str, ...] | None
    columns: tuple[str, ...]


def load_dataset(source: str, target: str | None) -> Dataset:
    """The data set at `source`: a path, or `sklearn:NAME`. `target` names the column (or array) to predict."""
    if source.startswith("sklearn:"):
        return _sklearn(source.removeprefix("sklearn:"))
    path = Path(source)
    if not path.is_file():
        raise NotFoundError(f"{source} does not exist; give a .csv, .parquet or .npz file, or sklearn:digits")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"{source} is empty")
    if path.suffix == ".npz":
        return _npz(path, target)
    return _table(path, target)


def _sklearn(name: str) -> Dataset:
    from sklearn import datasets

    known = ("breast_cancer", "diabetes", "digits", "iris", "wine")
    if name not in known:
        raise NotFoundError(f"scikit-learn carries no '{name}'; use one of {', '.join(known)}")
    bunch = getattr(datasets, f"load_{name}")()
    x = np.asarray(bunch.data, np.float32)
    columns = tuple(str(column) for column in bunch.feature_names)
    if name == "diabetes":
        return Dataset(x, np.asarray(bunch.target, np.float32)[:, None], None, columns)
    labels = tuple(str(label) for label in bunch.target_names)
    return Dataset(x, np.asarray(bunch.target, np.int64), labels, columns)


def _npz(path: Path, target: str | None) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"{path.name} is no NumPy archive without pickles: {error}") from None
    target = target or "y"
    features = [name for name in arrays if name != target]
    if target not in arrays or len(features) != 1:
        raise InvalidInputError(
            f"{path.name} holds {', '.join(arrays) or 'nothing'}; it needs two arrays, the features and '{target}' "
            "(name the one to predict with --target)"
        )
    x = arrays[features[0]]
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise InvalidInputError(f"'{features[0]}' in {path.name} has shape {x.shape} and dtype {x.dtype}; it needs "
                                "numbers of shape (N, columns)")  # fmt: skip
    x = x.reshape(len(x), -1).astype(np.float32)
    columns = tuple(f"{features[0]}_{index}" for index in range(x.shape[1]))
    return _with_targets(x, arrays[target], columns, target)


def _table(path: Path, target: str | None) -> Dataset:
    import polars

    try:
        if path.suffix == ".csv":
            frame = polars.read_csv(path, infer_schema_length=None)
        elif path.suffix in (".parquet", ".pq"):
            frame = polars.read_parquet(path)
        else:
            raise InvalidInputError(f"{path.name}: only .csv, .parquet and .npz are read")
    except (polars.exceptions.PolarsError, OSError) as error:
        raise InvalidInputError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None
    if frame.is_empty():
        raise InvalidInputError(f"{path.name} has no rows")
    if target is None:
        raise InvalidInputError(f"name the column to predict with --target; {path.name} has {_some(frame.columns)}")
    if target not in frame.columns:
        raise NotFoundError(f"{path.name} has no column '{target}'; it has {_some(frame.columns)}")
    features = frame.drop(target)
    texts = [name for name, kind in features.schema.items() if not (kind.is_numeric() or kind == polars.Boolean)]
    if texts:
        raise InvalidInputError(f"columns {_some(texts)} are no numbers; encode them as numbers, or drop them")
    empty = [name for name in frame.columns if frame[name].null_count()]
    if empty:
        raise InvalidInputError(f"columns {_some(empty)} have empty cells; fill them in or drop those rows")
    if not features.columns:
        raise InvalidInputError(f"{path.name} has no columns to learn from beside '{target}'")
    x = features.cast(polars.Float32).to_numpy()
    return _with_targets(x, frame[target].to_numpy(), tuple(features.columns), target)


def _with_targets(x: Array, target: Array, columns: tuple[str, ...], name: str) -> Dataset:
    """Text, booleans and a few different integers are classes; other numbers are values."""
    if len(target) != len(x):
        raise InvalidInputError(f"there are {len(x)} rows of features and {len(target)} of '{name}'")
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.dtype.kind == "f" or target.ndim > 1:
        if target.dtype.kind not in "biuf" or target.ndim > 2:
            raise InvalidInputError(f"'{name}' has shape {target.shape} and dtype {target.dtype}; it cannot be learnt")
        return Dataset(x, target.reshape(len(target), -1).astype(np.float32), None, columns)
    classes, numbers = np.unique(target.astype(str) if target.dtype.kind in "OUS" else target, return_inverse=True)
    if target.dtype.kind in "iu" and len(classes) > _CLASSES_OF_INTEGERS:
        return Dataset(x, target.reshape(-1, 1).astype(np.float32), None, columns)
    if len(classes) > _MAX_CLASSES:
        raise InvalidInputError(f"'{name}' has {len(classes)} different values; are they classes?")
    return Dataset(x, numbers.astype(np.int64), tuple(str(each) for each in classes), columns)


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (", …" if len(names) > 8 else "")
