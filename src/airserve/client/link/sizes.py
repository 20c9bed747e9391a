"""How large arrays are, as bytes and as rows."""

from __future__ import annotations

from airserve.core.call import Array


def raw_bytes(array: Array) -> int:
    """What an array takes on the wire as it is."""
    if array.dtype.kind in "OSU":
        return sum(4 + len(each if isinstance(each, bytes) else str(each).encode()) for each in array.ravel())
    return int(array.nbytes)


def rows_of(array: Array) -> int:
    """The first axis."""
    return int(array.shape[0]) if array.ndim else 1
