"""Tensors written element by element: `InferTensorContents`. Which field holds which datatype: open_inference.proto."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from airserve.codecs.tensors import as_bytes
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF, datatype_of
from airserve.protocols.protos.open_inference_pb import InferTensorContents

_FIELD_OF = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# The widest datatype of each field: what its elements are by themselves.
_DATATYPE_OF = {field: datatype for datatype, field in _FIELD_OF.items()}


def has_contents(datatype: str) -> bool:
    """Whether tensors of `datatype` can be written element by element at all."""
    return datatype in _FIELD_OF


def from_contents(
    model: str, contents: InferTensorContents | None, datatype: str, shape: Sequence[int], name: str
) -> Array:
    """The tensor in `contents`, of a shape that was checked. Raises `InvalidInputError` where it does not fit."""
    if not has_contents(datatype):
        raise InvalidInputError(
            f"input '{name}' for model '{model}' is {datatype}, which has no typed contents; use raw_input_contents"
        )
    field = _FIELD_OF[datatype]
    values: Sequence[Any] = ()
    if contents is not None:
        for other, sent_as in _DATATYPE_OF.items():
            if other != field and getattr(contents, other):
                raise InvalidInputError(
                    f"unexpected explicit tensor data for input tensor '{name}' for model '{model}' "
                    f"of type '{sent_as}', expected datatype '{datatype}'"
                )
        values = getattr(contents, field)
    count = math.prod(shape)
    if not values and count:
        raise InvalidInputError(f"unable to find data for input tensor '{name}' for model '{model}' in request.")
    if len(values) != count:
        raise InvalidInputError(
            f"unexpected number of elements {len(values)} in the contents of input '{name}' for model '{model}', "
            f"expecting {count} for shape {list(shape)}"
        )
    return _array(values, datatype, name).reshape(shape)


def to_contents(array: Array) -> InferTensorContents:
    """The tensor element by element, row by row; of any datatype but FP16."""
    datatype = datatype_of(array)
    contents = InferTensorContents()
    values = [as_bytes(element) for element in array.ravel()] if datatype == "BYTES" else array.ravel().tolist()
    setattr(contents, _FIELD_OF[datatype], values)
    return contents


def _array(values: Sequence[Any], datatype: str, name: str) -> Array:
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    try:
        return np.array(values, NUMPY_OF[datatype])
    except OverflowError:
        raise InvalidInputError(f"a value of input '{name}' does not fit into {datatype}") from None
