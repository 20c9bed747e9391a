"""NumPy's file format for one array, versions 1 to 3. Source: NumPy enhancement proposal 1; numpy.lib.format.

Read by hand, since what comes from outside must neither be unpickled nor make us allocate what its header claims.
"""

from __future__ import annotations

import ast
import io
from typing import Any

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import element_count

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
_KINDS = "biufSU"


def read_npy(data: bytes | memoryview) -> Array:
    """The array in `data`, a read-only view of it. Raises `InvalidInputError` for what is no such file, or pickled."""
    view = memoryview(data)
    if bytes(view[:6]) != _MAGIC or len(view) < 10 or view[6] not in (1, 2, 3):
        raise InvalidInputError("the body is no .npy file of version 1 to 3; numpy.save writes one")
    start = 10 if view[6] == 1 else 12
    length = int.from_bytes(view[8:start], "little")
    if length > min(_MAX_HEADER, len(view) - start):
        raise InvalidInputError("the header of the .npy file is cut off or too long")
    text = bytes(view[start : start + length]).decode("utf-8" if view[6] == 3 else "latin-1", "replace")
    dtype, fortran, shape = _header(text)
    count = element_count(shape, "of the .npy file")
    raw = view[start + length :]
    if len(raw) != count * dtype.itemsize:
        raise InvalidInputError(
            f"the .npy file has {len(raw)} bytes of data; {dtype} {list(shape)[:16]} needs {count * dtype.itemsize}"
        )
    array: Array = np.frombuffer(raw, dtype) if count else np.empty(0, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def write_npy(array: Array) -> bytes:
    """`array` as a file that `numpy.load` reads."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _header(text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """dtype, whether column-major, shape; the header is a Python literal."""
    try:
        header = ast.literal_eval(text.strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        if len(header) != 3 or not isinstance(descr, str) or not isinstance(fortran, bool):
            raise ValueError
        if not isinstance(shape, tuple) or len(shape) > 16 or any(type(size) is not int for size in shape):
            raise ValueError
        dtype = np.dtype(descr)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
        raise InvalidInputError("the header of the .npy file cannot be read; only plain arrays are taken") from None
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise InvalidInputError(f"dtype {dtype} is not taken: numbers, booleans and strings are; objects are pickled")
    return dtype, fortran, shape
