"""Tensors written as JSON: flat or nested to the shape, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF

_floats = msgspec.json.Decoder(list[float])
_integers = msgspec.json.Decoder(list[int])
_booleans = msgspec.json.Decoder(list[bool])
_texts = msgspec.json.Decoder(list[str])
_anything = msgspec.json.Decoder()
_Kind = tuple[msgspec.json.Decoder[Any], Any]
_KIND_OF: dict[str, _Kind] = {
    "f": (_floats, list[float]),
    "i": (_integers, list[int]),
    "u": (_integers, list[int]),
    "b": (_booleans, list[bool]),
    "O": (_texts, list[str]),
}


def from_json(data: Any, datatype: str, shape: Sequence[int], name: str) -> Array:
    """The tensor of raw JSON (`msgspec.Raw`) or lists in `data`. Raises `InvalidInputError` where it does not fit."""
    if datatype == "FP16":
        raise InvalidInputError(
            f"receiving FP16 data via JSON is not supported. Please use the binary data format for input {name}"
        )
    dtype = NUMPY_OF[datatype]
    decoder, kind = _KIND_OF[dtype.kind]
    try:
        # Flat data of the right type is the common case, and the fast one.
        values = decoder.decode(data) if isinstance(data, msgspec.Raw) else msgspec.convert(data, kind)
    except (msgspec.ValidationError, msgspec.DecodeError):
        values = _nested(data, kind, shape, datatype, name)
    if len(values) != math.prod(shape):
        raise InvalidInputError(
            f"Unable to parse 'data': Shape does not match true shape of 'data' field for input '{name}': "
            f"{len(values)} elements for shape {list(shape)[:16]}"
        )
    return _array(values, dtype, name).reshape(shape)


def _array(values: list[Any], dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind == "O":
        array = np.empty(len(values), dtype=object)
        array[:] = [text.encode() for text in values]
        return array
    try:
        return np.array(values, dtype)
    except (OverflowError, ValueError):
        raise InvalidInputError(f"a value of input '{name}' does not fit into {dtype.name}") from None


def _nested(data: Any, kind: Any, shape: Sequence[int], datatype: str, name: str) -> list[Any]:
    try:
        lists = _anything.decode(data) if isinstance(data, msgspec.Raw) else data
        values: list[Any] = []
        _flatten(lists, shape, values)
        if kind == list[bool]:
            values = [bool(value) if value in (0, 1) else value for value in values]
        return msgspec.convert(values, kind)
    except RecursionError:
        raise InvalidInputError(f"'data' of input '{name}' is nested too deeply") from None
    except _ShapeError:
        raise InvalidInputError(
            f"Failed to parse 'data' field: shape does not match true shape of input '{name}'"
        ) from None
    except (msgspec.ValidationError, msgspec.DecodeError, TypeError) as error:
        raise InvalidInputError(f"'data' of input '{name}' does not fit {datatype}: {error}") from None


class _ShapeError(Exception):
    """The lists are not nested as the shape says."""


def _flatten(lists: Any, shape: Sequence[int], into: list[Any]) -> None:
    """Accepts lists nested to `shape`, and flat ones, whose values only had the wrong type."""
    if not isinstance(lists, list):
        raise TypeError("it is a list of values")
    if not any(isinstance(each, list) for each in lists):
        if len(shape) > 1 and lists and len(lists) != math.prod(shape):
            raise _ShapeError
        into.extend(lists)
        return
    if len(lists) != shape[0] or len(shape) < 2:
        raise _ShapeError
    for each in lists:
        if not isinstance(each, list) or (len(shape) == 2 and len(each) != shape[1]):
            raise _ShapeError
        _flatten(each, shape[1:], into)
