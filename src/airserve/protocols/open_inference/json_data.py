"""Tensors written as JSON: flat or nested to the shape, row by row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""Numbers that JSON has no token for; read as text (as in protobuf's JSON) and as bare tokens, see `document`."""

_TYPE_OF: dict[str, Any] = {
    "f": float | Literal["NaN", "Infinity", "-Infinity"],
    "i": int,
    "u": int,
    "b": bool | Literal[0, 1],
    "O": str,
}
_opens_nested = re.compile(rb"\s*\[\s*\[").match


def from_json(data: msgspec.Raw, datatype: str, shape: Sequence[int], name: str) -> Array:
    """The tensor in `data`, flat or nested to `shape`. Raises `InvalidInputError` where it does not fit."""
    if datatype == "FP16":
        raise InvalidInputError(
            f"receiving FP16 data via JSON is not supported. Please use the binary data format for input {name}"
        )
    dtype = NUMPY_OF[datatype]
    depth = len(shape) if _opens_nested(data) else 1
    try:
        values = _decoder(dtype.kind, depth).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"'data' of input '{name}' does not fit {datatype} {list(shape)[:16]}: {error}"
        ) from None
    if depth == 1:
        if len(values) != math.prod(shape):
            raise InvalidInputError(
                f"Unable to parse 'data': Shape does not match true shape of 'data' field for input '{name}': "
                f"{len(values)} elements for shape {list(shape)[:16]}"
            )
        return _array(values, dtype, name).reshape(shape)
    _check_nesting(values, shape, name)
    return _array(values, dtype, name).reshape(shape)


@lru_cache(maxsize=64)
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[list[Any]]:
    """Lists of the one type, `depth` deep, checked while they are read; `depth` is that of a model's own input."""
    of: Any = _TYPE_OF[kind]
    for _ in range(depth):
        of = list[of]
    return msgspec.json.Decoder(of)


def _check_nesting(values: list[Any], shape: Sequence[int], name: str) -> None:
    if len(values) != shape[0]:
        raise InvalidInputError(
            f"Failed to parse 'data' field: shape does not match true shape of input '{name}': "
            f"a list of {len(values)} where its shape says {shape[0]}"
        )
    if len(shape) > 1:
        for each in values:
            _check_nesting(each, shape[1:], name)


def _array(values: list[Any], dtype: np.dtype[Any], name: str) -> Array:
    try:
        if dtype.kind == "O":
            return _bytes_array(np.array(values, dtype))
        with np.errstate(over="raise"):
            return np.array(values, dtype)
    except (ArithmeticError, ValueError):
        raise InvalidInputError(f"a value of input '{name}' does not fit into {dtype.name}") from None


def _bytes_array(texts: Array) -> Array:
    array = np.empty(texts.size, dtype=object)
    array[:] = [text.encode() for text in texts.ravel()]
    return array
