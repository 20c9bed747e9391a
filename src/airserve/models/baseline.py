"""`baseline.json`: how the inputs of a model looked when it was trained, for a service to hold live calls against.

Only counts are kept, in ten bins or so for each figure, and for embeddings a centre and a few directions: no row is.
Edges lie where tenths of the sample end, between rows or at a value that many rows share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.models.observed import MOST_ROWS_OF_A_CALL, Embedding, Observer, embedding_output

if TYPE_CHECKING:
    from airserve.models.manifest import Manifest

BASELINE_NAME = "baseline.json"
FORMAT = "airserve-baseline-1"

LEAST_ROWS = 100
"""Fewer rows say too little of what inputs look like."""

MOST_ROWS = 10_000
"""Of a larger sample so many rows are taken, spread evenly over it."""

MOST_BYTES = 4 << 20

_TENTHS = np.arange(1, 10) / 10
_FEW_VALUES = 12
_COMPONENTS = 8
_MOST_EDGES = 18


class Statistic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The histogram of one figure. Bin i holds what is at least `edges[i - 1]` and below `edges[i]`.

    `counts` has one more for what lies above the last edge, and a last one for what is missing.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All figures of a sample of `rows` rows, in the order in which an `Observer` reads them."""

    rows: int
    statistics: tuple[Statistic, ...]
    embedding: Embedding | None = None
    format: str = FORMAT


def baseline_of(manifest: Manifest, answered: Iterable[tuple[Tensors, Tensors]]) -> Baseline:
    """The baseline of calls and the model's answers to them, each of at most `MOST_ROWS_OF_A_CALL` rows.

    Raises `InvalidInputError` where there are fewer than `LEAST_ROWS` rows, or nothing to look at.
    """
    calls = list(answered)
    output = embedding_output(manifest)
    embedding = None
    rows = Observer(manifest, None).rows
    if output is not None:
        vectors = np.concatenate([rows(outputs[output]) for _, outputs in calls]).astype(np.float64)
        _check_rows(len(vectors))
        embedding = _fit(output, vectors[::2])
    observer = Observer(manifest, embedding)
    if not observer.names:
        raise InvalidInputError("nothing of this model's inputs and outputs can be held against a baseline")
    values = np.concatenate([observer.of(inputs, outputs) for inputs, outputs in calls])
    _check_rows(len(values))
    if embedding is None:
        statistics = tuple(_statistic(name, values[:, at]) for at, name in enumerate(observer.names))
    else:
        # Directions lie well for the rows that they were found in; others tell how new ones will lie to them.
        plain = set(Observer(manifest, None).names)
        statistics = tuple(
            _statistic(name, values[:, at] if name in plain else values[1::2, at])
            for at, name in enumerate(observer.names)
        )
    return Baseline(rows=len(values), statistics=statistics, embedding=embedding)


def split_rows(inputs: Tensors, outputs: Tensors) -> Iterable[tuple[Tensors, Tensors]]:
    """One large batch as calls that `baseline_of` takes whole; of more than `MOST_ROWS` rows so many, spread evenly."""
    count = len(next(iter(inputs.values())))
    kept = np.arange(count) if count <= MOST_ROWS else np.linspace(0, count - 1, MOST_ROWS).astype(np.int64)
    for start in range(0, len(kept), MOST_ROWS_OF_A_CALL):
        part = kept[start : start + MOST_ROWS_OF_A_CALL]
        yield (
            {name: array[part] for name, array in inputs.items()},
            {name: array[part] for name, array in outputs.items()},
        )


def render_baseline(baseline: Baseline) -> bytes:
    """The content of `baseline.json`; `parse_baseline` gives it back."""
    return msgspec.json.encode(baseline) + b"\n"


def parse_baseline(content: bytes, manifest: Manifest) -> Baseline:
    """The baseline in a package of `manifest`. Raises `BadPackageError` for what is damaged, or of another model."""
    if len(content) > MOST_BYTES:
        raise BadPackageError(f"{BASELINE_NAME} is larger than {MOST_BYTES} bytes")
    try:
        baseline = msgspec.json.decode(content, type=Baseline)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPackageError(f"{BASELINE_NAME}: {error}") from None
    if (problem := _problem(baseline, manifest)) is not None:
        raise BadPackageError(f"{BASELINE_NAME}: {problem}; make it again with airserve publish --baseline")
    return baseline


def _problem(baseline: Baseline, manifest: Manifest) -> str | None:
    if baseline.format != FORMAT:
        return f"its format '{baseline.format[:40]}' is not known here"
    for each in baseline.statistics:
        ordered = all(low < high for low, high in zip(each.edges, each.edges[1:], strict=False))
        if len(each.edges) > _MOST_EDGES or not ordered or not all(map(math.isfinite, each.edges)):
            return f"the edges of '{each.name[:80]}' are at most {_MOST_EDGES} numbers, ascending"
        if len(each.counts) != len(each.edges) + 2 or min(each.counts) < 0 or not sum(each.counts):
            return f"'{each.name[:80]}' has a count for each bin and one for what is missing"
    embedding = baseline.embedding
    if embedding is not None:
        if embedding.output != embedding_output(manifest):
            return f"the model has no embedding '{embedding.output[:80]}'"
        if any(len(each) != len(embedding.center) for each in embedding.components) or not embedding.spread >= 0:
            return "the directions of the embedding have another length than its centre"
        if (len(embedding.center),) != _vector_shape(manifest, embedding.output):
            return "the embedding has another length than the model's"
    if tuple(each.name for each in baseline.statistics) != Observer(manifest, embedding).names:
        return "it is of a model with other inputs and outputs"
    return None


def _vector_shape(manifest: Manifest, output: str) -> tuple[int, ...]:
    return next(spec.shape[1:] for spec in manifest.signature.outputs if spec.name == output)


def _check_rows(count: int) -> None:
    if count < LEAST_ROWS:
        raise InvalidInputError(f"a baseline needs at least {LEAST_ROWS} rows, this sample has {count}")


def _statistic(name: str, values: Array) -> Statistic:
    known = values[~np.isnan(values)]
    edges = _edges(known[np.isfinite(known)])
    bins = np.searchsorted(edges, known, side="right")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return Statistic(name, tuple(edges.tolist()), (*counts.tolist(), len(values) - len(known)))


def _edges(values: Array) -> Array:
    """Where bins begin, at most `_MOST_EDGES`.

    Of a few different values each has a bin, and what is below or above all of them another. Of more, a bin holds a
    tenth of the rows; a value that has more than a tenth has a bin of its own.
    """
    if not len(values):
        return np.zeros(0)
    distinct = np.unique(values)
    if len(distinct) <= _FEW_VALUES:
        between = (distinct[:-1] + distinct[1:]) / 2
        return np.unique(_finite([distinct[0], *between, _just_above(distinct[-1])]))
    tenths, times = np.unique(np.quantile(values, _TENTHS), return_counts=True)
    return np.unique(_finite([*tenths, *_just_above(tenths[times > 1])]))


def _just_above(values: Any) -> Any:
    """More than these, less than any other number of a model. No denormal number: some threads take those for zero."""
    return values + np.maximum(np.abs(values) * 1e-9, 1e-30)


def _finite(edges: Sequence[float]) -> Array:
    found = np.array(edges, np.float64)
    return found[np.isfinite(found)]


def _fit(output: str, vectors: Array) -> Embedding:
    """The centre of the vectors [n, d] and the directions in which they differ most: principal components.

    Jolliffe, "Principal Component Analysis", 2nd ed., ch. 2.
    """
    center = vectors.mean(axis=0)
    away = vectors - center
    _, lengths, directions = np.linalg.svd(away, full_matrices=False)
    kept = directions[:_COMPONENTS][lengths[:_COMPONENTS] > 1e-9]
    return Embedding(
        output=output,
        center=_short(center),
        components=tuple(_short(each) for each in kept),
        spread=float(np.square(away).sum(axis=1).mean()),
    )


def _short(vector: Array) -> tuple[float, ...]:
    # Seven digits are all that a model's float32 has.
    return tuple(float(f"{each:.7g}") for each in vector)
