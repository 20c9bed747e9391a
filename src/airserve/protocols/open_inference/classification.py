"""The classification extension: an output as its highest values, each with its index and label.

Source: Triton's extension_classification.md; the text of a value is that of C++'s `std::to_string`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec

MAX_CLASSES = 1_000_000
"""More values a row than this are no classes."""

_NOT_CLASSES = ("BYTES", "BOOL")


def check_classes(model: str, spec: TensorSpec, classes: object, *, batched: bool) -> int:
    """The number of classes that a client asks of output `spec`, 0 for none; refused before anything is computed."""
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
        raise InvalidInputError(f"'classification' of output '{spec.name}' is the number of classes, 0 or more")
    if classes and spec.datatype in _NOT_CLASSES:
        raise InvalidInputError(
            f"class result not available for output '{spec.name}' of model '{model}' due to unsupported type "
            f"'{spec.datatype}'"
        )
    fixed = spec.shape[1:] if batched else spec.shape
    if classes and math.prod(size for size in fixed if size != -1) > MAX_CLASSES:
        raise _too_many(spec.name)
    return classes


def classify(array: Array, classes: int, labels: Sequence[str], *, name: str, batched: bool) -> Array:
    """The `classes` highest values of each row of output `name` as `value:index[:label]`, of equals the first first.

    `array` is [batch, …], or any shape where the model does not batch; the result is BYTES of shape
    [batch, min(classes, count)], without the batch where there is none. `labels` name the values where there are as
    many of the one as of the other.
    """
    count = math.prod(array.shape[1:] if batched else array.shape)
    rows = array.reshape(array.shape[0] if batched else 1, count)
    if count > MAX_CLASSES:
        raise _too_many(name)
    names = labels if len(labels) == count else ()
    top = min(classes, count)
    found = np.empty((len(rows), top), dtype=object)
    for row, values in enumerate(rows):
        for place, index in enumerate(_highest(values, top)):
            found[row, place] = _text(values[index], int(index), names)
    return found if batched else found.reshape(-1)


def _highest(values: Array, top: int) -> Array:
    if values.dtype.kind == "f":
        # What is no number is no class: it goes last.
        values = np.where(np.isnan(values), -np.inf, values)
    # Stable from the back, then turned: descending, and the lower index first among equals.
    return (len(values) - 1 - np.argsort(values[::-1], kind="stable"))[::-1][:top]


def _text(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{float(value):f}" if value.dtype.kind == "f" else str(int(value))
    return f"{number}:{index}{f':{labels[index]}' if labels and labels[index] else ''}".encode()


def _too_many(name: str) -> InvalidInputError:
    return InvalidInputError(f"output '{name}' has more than {MAX_CLASSES} values a row; ask for it without classes")
