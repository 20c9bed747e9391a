"""Top-k: the largest values of a tensor and where they are; all others become 0.

    data = gaps, a byte each ‖ values, float16

A gap is how many values are left out before the next one; 255 stands for 255 left out and none kept yet. Bytes at the
end that keep nothing are not written.
"""

from __future__ import annotations

import numpy as np

from airserve.codecs.floats import half_bound, to_half
from airserve.core.call import Array
from airserve.core.errors import BadFrameError

_MORE = 255


def kept(count: int, millionths: int) -> int:
    """How many of `count` values are kept: their share, rounded up."""
    return -(-count * millionths // 1_000_000)


def size_bounds(count: int, millionths: int) -> tuple[int, int]:
    """The least and the most bytes that `count` values are coded in."""
    values = kept(count, millionths)
    return 3 * values, 3 * values + count // _MORE


def to_sparse(flat: Array, millionths: int) -> bytes | None:
    """The data of a tensor of one axis; None where a value is not finite, or beyond float16."""
    half = to_half(flat)
    if half is None or not np.isfinite(half).all():
        return None
    where = _largest_at(flat, kept(flat.size, millionths))
    gaps = np.diff(where, prepend=-1) - 1
    runs = gaps // _MORE
    coded = np.full(len(where) + int(runs.sum()), _MORE, np.uint8)
    coded[np.cumsum(runs + 1) - 1] = gaps % _MORE
    return coded.tobytes() + half[where].tobytes()


def from_sparse(data: bytes | memoryview, count: int, millionths: int, dtype: np.dtype[np.generic]) -> Array:
    """The tensor of one axis with `count` values. Raises `BadFrameError`."""
    values = kept(count, millionths)
    if len(data) < 3 * values:
        raise BadFrameError("the frame's sparse values are cut off")
    gaps = np.frombuffer(data, np.uint8, len(data) - 2 * values)
    steps = np.where(gaps == _MORE, _MORE, gaps.astype(np.int64) + 1)
    where = np.cumsum(steps)[gaps != _MORE] - 1
    if len(where) != values or (values and where[-1] >= count):
        raise BadFrameError("the frame's sparse values lie outside of its tensor")
    flat = np.zeros(count, dtype)
    flat[where] = np.frombuffer(data, "<f2", offset=len(gaps))
    return flat


def sparse_bound(flat: Array, millionths: int) -> float:
    """The most by which a value of `flat` is off: the largest that is left out, or float16's of those kept."""
    left = np.abs(flat.astype(np.float64))
    left[_largest_at(flat, kept(flat.size, millionths))] = 0
    return max(float(left.max(initial=0)), half_bound(flat))


def _largest_at(flat: Array, count: int) -> Array:
    filled = np.flatnonzero(flat)
    if count < filled.size:
        # Among the values that are not 0 alone: many that are equal make a partition slow.
        best = np.argpartition(np.abs(flat[filled]), filled.size - count)[filled.size - count :]
        return np.sort(filled[best])
    empty = np.flatnonzero(flat == 0)[: count - filled.size]
    return np.sort(np.concatenate((filled, empty)))
