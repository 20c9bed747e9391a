"""The lossy stage of each codec: a tensor becomes symbols with parameters, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from airserve.codecs import affine, floats, sparse
from airserve.codecs.codec import Codec
from airserve.codecs.frame_head import Head
from airserve.codecs.packing import Bytes
from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.call import Array
from airserve.core.tensor import NUMPY_OF


@dataclass(frozen=True, slots=True)
class Symbols:
    """What the lossy stage makes: `rows`, uint8 of [channels, values] for integers and of [1, bytes] for the rest."""

    rows: Bytes
    parameters: bytes = b""
    exact: bool = False


_KEEP_FROM = {8: 0.4, 4: 0.75, 2: 0.75}
"""The scales of a reference serve as long as new ones would be at least this share of them."""


def to_symbols(array: Array, codec: Codec, *, headroom: float = 0.0, like: bytes | None = None) -> Symbols | None:
    """`array` through the lossy stage. `like` are the parameters of a reference; None where they do not fit any more.

    What the stage cannot hold within its bound (not finite, too large) is kept as it is, and said to be `exact`.
    """
    if codec.bits and array.size:
        return _integers(array, codec, headroom, like)
    data: Array | bytes | None
    if codec.lossy == "fp16":
        data = floats.to_half(array)
    elif codec.lossy == "bf16":
        data = floats.to_bfloat(array)
    elif codec.lossy == "topk":
        data = sparse.to_sparse(array.reshape(-1), codec.millionths)
    elif codec.lossy == "fp32":
        return Symbols(_one_row(to_raw(array)))
    else:
        data = b""
    if data is None:
        return Symbols(_one_row(to_raw(array)), exact=True)
    return Symbols(_one_row(to_raw(data) if isinstance(data, np.ndarray) else data))


def to_tensor(symbols: Symbols, head: Head) -> Array:
    """The tensor that `to_symbols` was given, within the bound. Raises `BadFrameError`, or `InvalidInputError`."""
    dtype, lossy, shape = NUMPY_OF[head.datatype], head.codec.lossy, head.shape
    data = symbols.rows.reshape(-1)
    if head.exact or lossy == "fp32":
        return from_raw(data.data, head.datatype, shape, "frame")
    if head.codec.bits:
        return _floats(symbols, head)
    if lossy == "topk":
        return sparse.from_sparse(data.data, head.count, head.codec.millionths, dtype).reshape(shape)
    values = data.view("<f2") if lossy == "fp16" else floats.from_bfloat(data.view("<u2"))
    # Only a frame that `to_symbols` never made holds numbers beyond the datatype; they become infinite.
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False).reshape(shape)


def _integers(array: Array, codec: Codec, headroom: float, like: bytes | None) -> Symbols | None:
    rows = affine.rows_of(array, affine.channel_axis(array.shape, codec.per_channel))
    scales = affine.fit(rows, codec.bits, headroom)
    if scales is None:
        return None if like is not None else Symbols(_one_row(to_raw(array)), exact=True)
    if like is None:
        return Symbols(affine.quantise(rows, scales), scales.pack())
    held = affine.unpack_scales(like, len(rows), codec.bits)
    if not _serve(held, scales, codec.bits):
        return None
    return Symbols(affine.quantise(rows, held), like)


def _serve(held: affine.Scales, wanted: affine.Scales, bits: int) -> bool:
    """Whether the scales of a reference still hold the range that new ones would have, and not much more."""
    step = held.scale / 2
    inside = (wanted.lo >= held.lo - step) & (wanted.top <= held.top + step)
    # What is clipped anyhow may be clipped a little more.
    close = wanted.scale.sum() <= held.scale.sum() * 1.1 if bits <= 4 else bool(inside.all())
    return bool(close and wanted.scale.sum() >= _KEEP_FROM[bits] * held.scale.sum())


def _floats(symbols: Symbols, head: Head) -> Array:
    dtype, shape = NUMPY_OF[head.datatype], head.shape
    if not head.count:
        return np.empty(shape, dtype)
    axis = affine.channel_axis(shape, head.codec.per_channel)
    scales = affine.unpack_scales(symbols.parameters, len(symbols.rows), head.codec.bits)
    rows = affine.restore(symbols.rows, scales, dtype)
    if axis is None:
        return rows.reshape(shape)
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def _one_row(data: bytes | memoryview) -> Bytes:
    return np.frombuffer(data, np.uint8).reshape(1, -1)
