"""Tensors of every datatype and layout, for tests of codecs."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from airserve.codecs.codec import LOSSLESS, LOSSY, Codec
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF

FLOATS = ("FP16", "FP32", "FP64")
CODECS = [
    Codec(lossy, lossless, 100_000 if lossy == "topk" else 0)
    for lossy in LOSSY
    for lossless in LOSSLESS
    if lossless != "ans" or lossy not in ("fp16", "bf16", "topk")
]
SHAPES = st.lists(st.integers(0, 6), max_size=5).map(tuple)
LARGE = st.sampled_from([(1, 20, 5, 7), (40, 30), (3, 17, 40), (1000,)])


def feature_map(seed: int = 0, shape: tuple[int, ...] = (1, 48, 14, 14)) -> Array:
    """What a rectified layer gives: channels of different spread, most of each 0."""
    dice = np.random.default_rng(seed)
    spread = dice.gamma(1, 1, (shape[0], shape[1], *(1 for _ in shape[2:])))
    return np.maximum(dice.normal(-0.8, 1, shape) * spread, 0).astype(np.float32)


@st.composite
def floats(draw: st.DrawFn) -> Array:
    """FP16, FP32 or FP64 of any shape: of any magnitude, rectified, constant, with NaN or infinity, in any layout."""
    shape = draw(SHAPES | LARGE)
    dice = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    datatype = draw(st.sampled_from(FLOATS))
    array = dice.normal(draw(st.sampled_from([0.0, -1.0, 100.0])), 1, shape) ** draw(st.sampled_from([1, 3]))
    array *= 10.0 ** draw(st.sampled_from([0, 0, 0, -9, -40, 4, 37, 39, 300]))
    kind = draw(st.sampled_from(["normal", "normal", "rectified", "constant", "strange"]))
    if kind == "rectified":
        array = np.maximum(array, 0)
    elif kind == "constant":
        array = np.full(shape, draw(st.sampled_from([0.0, 1.0, -2.5])))
    elif kind == "strange" and array.size:
        array = np.array(array)
        array.reshape(-1)[dice.integers(array.size)] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with np.errstate(over="ignore"):
        return laid_out(draw, np.asarray(array).astype(NUMPY_OF[datatype]))


@st.composite
def others(draw: st.DrawFn) -> Array:
    """Integers, BOOL or BYTES of any shape."""
    shape = draw(SHAPES | LARGE)
    dice = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    datatype = draw(st.sampled_from([name for name in NUMPY_OF if name not in FLOATS]))
    if datatype == "BYTES":
        texts = np.empty(int(np.prod(shape)), object)
        texts[:] = [b"x" * length for length in dice.integers(0, 30, texts.size)]
        return texts.reshape(shape)
    return laid_out(draw, dice.integers(0, draw(st.sampled_from([2, 5, 120])), shape).astype(NUMPY_OF[datatype]))


def laid_out(draw: st.DrawFn, array: Array) -> Array:
    """The same tensor, as another program may have it in memory."""
    layout = draw(st.sampled_from(["plain", "plain", "reversed", "strided", "big-endian"]))
    if layout == "reversed":
        return np.ascontiguousarray(array.T).T
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array.astype(array.dtype.newbyteorder(">")) if layout == "big-endian" else array


def same(one: Array, other: Array) -> bool:
    """Bit by bit, whatever the layout."""
    if one.dtype.kind == "O":
        return one.shape == other.shape and list(one.reshape(-1)) == list(other.reshape(-1))
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def refuses(codec: Codec, datatype: str) -> bool:
    """Whether `codec` isn't for `datatype`."""
    from airserve.codecs.codec import check_takes

    try:
        check_takes(codec, datatype)
    except InvalidInputError:
        return True
    return False
