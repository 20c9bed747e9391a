"""Nested lists and arrays of any dtype -> the tensor that a model's input asks for, where no value is lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from airserve.codecs.tensors import as_bytes
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec

_MAX_AXES = 32


def from_lists(nested: Any, spec: TensorSpec) -> Array:
    """Lists, numbers and texts as they come out of JSON, in the dtype of `spec`; their shape is not checked."""
    if spec.datatype != "BYTES" and _holds_texts(nested):
        raise InvalidInputError(f"input '{spec.name}' takes numbers: {spec.datatype}")
    try:
        array = np.array(nested, dtype=object if spec.datatype == "BYTES" else None)
    except (ValueError, OverflowError):
        raise InvalidInputError(f"input '{spec.name}' is ragged: its lists have different lengths") from None
    if array.ndim > _MAX_AXES:
        raise InvalidInputError(f"input '{spec.name}' is nested too deeply")
    return in_dtype(array, spec)


def _holds_texts(nested: Any) -> bool:
    """Whether a text is anywhere in lists in lists. NumPy would give every element the room of the longest of them."""
    waiting = [nested]
    while waiting:
        given = waiting.pop()
        if isinstance(given, str):
            return True
        if isinstance(given, list):
            kinds = set(map(type, given))
            if str in kinds:
                return True
            if list in kinds:
                waiting += given
    return False


def in_dtype(array: Array, spec: TensorSpec) -> Array:
    """`array` in the dtype of `spec`. Raises `InvalidInputError` where a value has no place in it."""
    if spec.datatype == "BYTES":
        return _texts(array, spec.name)
    wanted = spec.dtype
    if array.size and array.dtype.kind not in "biuf":
        what = "numbers" if array.dtype.kind in "SU" else "only numbers, one in each place"
        raise InvalidInputError(f"input '{spec.name}' takes {what}: {spec.datatype}")
    if array.dtype == wanted:
        return array
    try:
        with np.errstate(over="raise", invalid="raise"):
            cast = array.astype(wanted)
    except FloatingPointError:
        raise _no_place(spec) from None
    # Floats may round; whole numbers and booleans may not change.
    if wanted.kind != "f" and not np.array_equal(cast, array):
        raise _no_place(spec)
    return cast


def _texts(array: Array, name: str) -> Array:
    texts = np.empty(array.size, dtype=object)
    for place, element in enumerate(array.ravel()):
        if not isinstance(element, str | bytes):
            raise InvalidInputError(f"input '{name}' takes texts")
        texts[place] = as_bytes(element)
    return texts.reshape(array.shape)


def _no_place(spec: TensorSpec) -> InvalidInputError:
    return InvalidInputError(f"a value of input '{spec.name}' does not fit into {spec.datatype}")
