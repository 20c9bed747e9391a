"""What is looked at in a call to tell whether inputs have changed: a few numbers for each row, from inputs and outputs.

Rows of up to `MOST_FEATURES` numbers are looked at number by number. Larger ones, pictures and texts are told by cheap
figures (size, brightness, length) and by what the model itself makes of them: the class and its probability, or the
embedding. Lipton, Wang & Smola, "Detecting and Correcting for Label Shift with Black Box Predictors" (ICML 2018), and
Rabanser, Günnemann & Lipton, "Failing Loudly" (NeurIPS 2019), say why a model's own outputs are good for that.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.tensor import TensorSpec

if TYPE_CHECKING:
    from airserve.models.manifest import Manifest

MOST_FEATURES = 1000
"""Inputs of more numbers a row than this are told by their mean, spread, smallest and largest."""

MOST_OUTPUTS = 16
"""Outputs of more numbers a row than this are looked at as embeddings."""

MOST_ROWS_OF_A_CALL = 64
"""Of a larger call so many rows are looked at, spread evenly over it."""

_THUMBNAIL = (64, 64)


class Embedding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the vectors of the output `output` lie: their centre [d], the directions [k, d] in which they differ most.

    `spread` is the mean square of their distance from the centre.
    """

    output: str
    center: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    spread: float


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor, and the figures that `read` makes of its rows, [n, len(names)], NaN where one is missing."""

    tensor: str
    of_output: bool
    names: tuple[str, ...]
    read: Callable[[Array], Array]


class Observer:
    """Reads the figures of calls to the model of `manifest`, those of its embedding only where that is given."""

    def __init__(self, manifest: Manifest, embedding: Embedding | None) -> None:
        self._batches = manifest.max_batch > 0
        self._parts = (*_of_inputs(manifest), *_of_outputs(manifest, embedding))
        self.names = _told_apart(name for part in self._parts for name in part.names)

    def of(self, inputs: Tensors, outputs: Tensors) -> Array:
        """float64 [n, figures] of one call, n at most `MOST_ROWS_OF_A_CALL`; NaN where a value is missing."""
        columns = [part.read(self.rows((outputs if part.of_output else inputs)[part.tensor])) for part in self._parts]
        return np.concatenate(columns, axis=1)

    def rows(self, array: Array) -> Array:
        """The rows of a tensor that are looked at: all but where there are many."""
        if not self._batches:
            return array[None]
        if len(array) <= MOST_ROWS_OF_A_CALL:
            return array
        return np.asarray(array[np.linspace(0, len(array) - 1, MOST_ROWS_OF_A_CALL).astype(np.int64)])


def _told_apart(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once: a column may be called 'class' too."""
    told: dict[str, None] = {}
    for name in names:
        tries = (name if number == 1 else f"{name} ({number})" for number in count(1))
        told[next(each for each in tries if each not in told)] = None
    return tuple(told)


def embedding_output(manifest: Manifest) -> str | None:
    """The output whose vectors are looked at as embeddings; None where there is none."""
    return next((spec.name for spec in manifest.signature.outputs if _is_embedding(manifest, spec)), None)


def _of_inputs(manifest: Manifest) -> Iterator[_Part]:
    specs = manifest.signature.inputs
    # The tail of a split gets features, whatever its step says.
    if manifest.vision is not None and manifest.split is None:
        names = ("picture.width", "picture.height", "picture.brightness", "picture.contrast")
        yield _Part("image", False, names, partial(_pictures, most=manifest.vision.max_pixels))
        return
    widths = {spec.name: _width(manifest, spec) for spec in specs if spec.datatype != "BYTES"}
    single = sum(width or 0 for width in widths.values()) <= MOST_FEATURES
    for spec in specs:
        width = widths.get(spec.name)
        if spec.datatype == "BYTES":
            yield _Part(spec.name, False, (f"{spec.name}.characters",), _lengths)
        elif width is not None and single:
            yield _Part(spec.name, False, _feature_names(manifest, spec, width), _numbers)
        else:
            yield _summary_part(spec.name, of_output=False)


def _of_outputs(manifest: Manifest, embedding: Embedding | None) -> Iterator[_Part]:
    if manifest.vision is not None:
        yield _Part("index", True, ("class",), _first)
        yield _Part("probability", True, ("probability",), _first)
        return
    for spec in manifest.signature.outputs:
        if spec.datatype == "BYTES":
            continue
        width = _width(manifest, spec)
        if _is_scores(manifest, spec):
            yield _Part(spec.name, True, ("class", "probability"), _scores)
        elif _is_embedding(manifest, spec):
            if embedding is not None:
                names = [f"{spec.name}.{number + 1}" for number in range(len(embedding.components))]
                yield _Part(spec.name, True, (*names, f"{spec.name}.distance"), _projection(embedding))
        elif width is not None and width <= MOST_OUTPUTS:
            names = [spec.name] if width == 1 else [f"{spec.name}[{at}]" for at in range(width)]
            yield _Part(spec.name, True, tuple(names), _numbers)
        else:
            yield _summary_part(spec.name, of_output=True)


def _summary_part(name: str, *, of_output: bool) -> _Part:
    names = tuple(f"{name}.{figure}" for figure in ("mean", "deviation", "smallest", "largest"))
    return _Part(name, of_output, names, _summary)


def _width(manifest: Manifest, spec: TensorSpec) -> int | None:
    """How many numbers a row has; None where that is free."""
    axes = spec.shape[1:] if manifest.max_batch else spec.shape
    return None if -1 in axes else math.prod(axes)


def _is_scores(manifest: Manifest, spec: TensorSpec) -> bool:
    return spec.datatype.startswith("FP") and len(spec.shape) >= 2 and spec.shape[-1] == len(manifest.labels) > 1


def _is_embedding(manifest: Manifest, spec: TensorSpec) -> bool:
    if manifest.vision is not None or not spec.datatype.startswith("FP") or _is_scores(manifest, spec):
        return False
    width = _width(manifest, spec)
    return manifest.max_batch > 0 and len(spec.shape) == 2 and width is not None and width > MOST_OUTPUTS


def _feature_names(manifest: Manifest, spec: TensorSpec, width: int) -> tuple[str, ...]:
    if len(manifest.columns) == width:
        return manifest.columns
    return (spec.name,) if width == 1 else tuple(f"{spec.name}[{at}]" for at in range(width))


def _numbers(rows: Array) -> Array:
    return rows.reshape(len(rows), -1).astype(np.float64)


def _first(rows: Array) -> Array:
    return _numbers(rows)[:, :1]


def _summary(rows: Array) -> Array:
    x = _numbers(rows)
    if not x.shape[1]:
        return np.full((len(x), 4), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([x.mean(1), x.std(1), x.min(1), x.max(1)], axis=1)


def _scores(rows: Array) -> Array:
    x = rows.reshape(len(rows), -1, rows.shape[-1])[:, 0].astype(np.float64)
    return np.stack([x.argmax(1), x.max(1)], axis=1)


def _lengths(rows: Array) -> Array:
    """Characters of each row's texts together."""
    flat = rows.reshape(len(rows), -1)
    return np.array([[sum(_characters(each) for each in row)] for row in flat], np.float64).reshape(len(rows), 1)


def _characters(element: object) -> int:
    return len(element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element))


def _pictures(rows: Array, *, most: int) -> Array:
    return np.array([_picture(row, most) for row in rows.reshape(len(rows), -1)[:, 0]], np.float64).reshape(-1, 4)


def _picture(data: object, most: int) -> tuple[float, float, float, float]:
    """Width and height, and the mean and the standard deviation of its brightness, 0 to 1, in a thumbnail of it."""
    from PIL import Image

    missing = (math.nan,) * 4
    if not isinstance(data, bytes | memoryview | bytearray):
        return missing
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > most:
                return missing
            # A JPEG is decoded at an eighth of its size that way, in a fraction of the time.
            image.draft("L", _THUMBNAIL)
            grey = np.asarray(image.convert("L").resize(_THUMBNAIL, Image.Resampling.BILINEAR), np.float64) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return missing
    return float(width), float(height), float(grey.mean()), float(grey.std())


def _projection(embedding: Embedding) -> Callable[[Array], Array]:
    center = np.array(embedding.center)
    components = np.array(embedding.components).reshape(-1, len(center))
    radius = math.sqrt(embedding.spread) or 1.0

    def read(rows: Array) -> Array:
        away = rows.astype(np.float64) - center
        return np.concatenate([away @ components.T, np.linalg.norm(away, axis=1)[:, None] / radius], axis=1)

    return read
