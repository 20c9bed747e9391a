"""Raw tensor data of the Open Inference Protocol: little-endian, row-major, no padding.

Source: extension_binary_data.md. BYTES elements are each a uint32 length and that many bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF, element_count

_LENGTH = struct.Struct("<I")


def from_raw(data: bytes | memoryview, datatype: str, shape: Sequence[int], name: str) -> Array:
    """The tensor in `data`: a read-only view of it, except for BYTES (an object array of bytes).

    Raises `InvalidInputError` where the size of `data` is not that of `shape`.
    """
    count = element_count(shape, name)
    if datatype == "BYTES":
        return _strings(data, count, name).reshape(shape)
    dtype = NUMPY_OF[datatype]
    expected = count * dtype.itemsize
    if len(data) != expected:
        raise InvalidInputError(f"input byte size mismatch for input '{name}'. Expected {expected}, got {len(data)}")
    if datatype == "BOOL" and expected:
        array: Array = np.frombuffer(data, np.uint8)
        # A boolean of any other byte is undefined behaviour in NumPy and in the runtimes.
        if array.max() > 1:
            raise InvalidInputError(f"input '{name}' is BOOL; its bytes are 0 or 1")
    return np.frombuffer(data, dtype).reshape(shape)


def to_raw(array: Array) -> bytes | memoryview:
    """The raw data of `array`; not copied where it is contiguous and little-endian already."""
    if array.dtype.kind in "OSU":
        return _join_strings(array)
    if array.dtype.byteorder == ">" or (sys.byteorder == "big" and array.dtype.itemsize > 1):
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


def _strings(data: bytes | memoryview, count: int, name: str) -> Array:
    """What is allocated follows from the bytes that are there, never from a `count` that only claims them."""
    elements: list[bytes] = []
    offset, size = 0, len(data)
    while offset < size:
        if size - offset < _LENGTH.size:
            raise InvalidInputError(f"incomplete string length indicator for inference input '{name}'")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if size - offset < length:
            raise InvalidInputError(
                f"incomplete string data for inference input '{name}', expecting string of length {length} "
                f"but only {size - offset} bytes available"
            )
        elements.append(bytes(data[offset : offset + length]))
        offset += length
    if len(elements) != count:
        raise InvalidInputError(
            f"unexpected number of string elements {len(elements)} for inference input '{name}', expecting {count}"
        )
    array = np.empty(count, dtype=object)
    array[:] = elements
    return array


def _join_strings(array: Array) -> bytes:
    parts: list[bytes] = []
    for element in array.ravel():
        raw = as_bytes(element)
        parts.append(_LENGTH.pack(len(raw)))
        parts.append(raw)
    return b"".join(parts)


def as_bytes(element: object) -> bytes:
    """One element of a BYTES tensor as bytes: text as UTF-8, other objects as their text."""
    if isinstance(element, bytes):
        return element
    return str(element).encode()
