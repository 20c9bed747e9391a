"""How far off a tensor can be after a codec, for that tensor."""

from __future__ import annotations

import numpy as np

from airserve.codecs import affine, floats, sparse
from airserve.codecs.codec import Codec, check_takes, is_lossless, parse
from airserve.core.call import Array
from airserve.core.tensor import datatype_of


def error_bound(array: Array, codec: Codec | str) -> float:
    """The most by which an element of `array` is off after `encode` and `decode`, in its unit.

    0 for what comes back bit by bit, such as a tensor with NaN through a codec of integers. A difference in a stream
    has the bound of its key frame. Raises `InvalidInputError` for a codec that is not for this datatype.
    """
    codec = parse(codec) if isinstance(codec, str) else codec
    datatype = datatype_of(array)
    check_takes(codec, datatype)
    if is_lossless(codec, datatype) or not array.size:
        return 0.0
    largest = float(np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0))
    # Into float32 on the way, and back into the datatype; the second terms are for numbers too small to be normal.
    rounding = largest * 2.0**-24 + 2.0**-148
    if datatype == "FP16":
        rounding += largest * 2.0**-10 + 2.0**-24
    if codec.bits:
        rows = affine.rows_of(array, affine.channel_axis(array.shape, codec.per_channel))
        scales = affine.fit(rows, codec.bits)
        return 0.0 if scales is None else affine.bound(rows, scales) + rounding
    if codec.lossy == "bf16":
        return 0.0 if floats.to_bfloat(array) is None else floats.bfloat_bound(array) + rounding
    if floats.to_half(array) is None:
        return 0.0
    if codec.lossy == "fp16":
        return floats.half_bound(array)
    return sparse.sparse_bound(array.reshape(-1), codec.millionths) if np.isfinite(array).all() else 0.0
