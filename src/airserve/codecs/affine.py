"""Floats as integers of 8, 4 or 2 bits: x ≈ lo + scale · q, one (lo, scale) a tensor or a channel.

8 bits cover the range. 4 and 2 bits clip it, since few large values would cost all others their precision: at the
optimum for a Laplace distribution of the spread that is seen (ACIQ; Banner et al., "Post training 4-bit quantization of
convolutional networks for rapid-deployment", NeurIPS 2019, §3). A map without negative values has lo = 0, so that its
zeros stay zeros, and counts as one half of such a distribution.

    parameters = form(1) ‖ scale of each channel ‖ lo of each channel unless all are 0

`form` bit 0: fp16 (else fp32); bit 1: lo is left out. Both little-endian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from airserve.core.call import Array
from airserve.core.errors import BadFrameError

Floats = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.uint8]

# Clipping at _OPTIMUM[bits] · E|x − μ| has the least mean squared error for a Laplace distribution (ACIQ, eq. 12).
_OPTIMUM = {2: 2.83, 3: 3.89, 4: 5.03, 5: 6.20}
_HALF, _ZERO_LO = 1, 2
_LARGEST = 1e38
"""Values beyond this, and ranges under `_SMALLEST` · levels, leave no room for the arithmetic in float32."""
_SMALLEST = 1e-35
_LEAST_VALUES = 16
"""A channel of fewer values would spend more bytes on its scale than the scale saves."""
_LOOSER, _UNNOTICED = 0.02, 0.001
"""How much wider parameters in fp16 may make a channel's range, as a share of it or of the widest channel's."""


@dataclass(frozen=True, slots=True)
class Scales:
    """How symbols become numbers: `lo` and `scale`, float32 of shape [channels], and the highest symbol."""

    lo: Floats
    scale: Floats
    levels: int

    @property
    def top(self) -> Floats:
        """The number of the highest symbol, a channel."""
        return self.lo + self.scale * np.float32(self.levels)

    def pack(self) -> bytes:
        """As they stand in a frame."""
        with np.errstate(over="ignore"):
            half = all(np.array_equal(each, each.astype(np.float16)) for each in (self.lo, self.scale))
        zero = not self.lo.any()
        dtype = "<f2" if half else "<f4"
        parts = [self.scale] if zero else [self.scale, self.lo]
        return bytes([half * _HALF | zero * _ZERO_LO]) + b"".join(each.astype(dtype).tobytes() for each in parts)


def channel_axis(shape: Sequence[int], per_channel: bool) -> int | None:
    """The axis with a scale for each place along it; None for one scale of the whole tensor."""
    if not per_channel or not shape or 0 in shape:
        return None
    axis = 1 if len(shape) > 2 else len(shape) - 1
    return axis if math.prod(shape) // shape[axis] >= _LEAST_VALUES else None


def most_parameters(shape: Sequence[int], per_channel: bool) -> int:
    """The most bytes that the parameters of a tensor of `shape` have."""
    axis = channel_axis(shape, per_channel)
    return 1 + 8 * (1 if axis is None else shape[axis])


def rows_of(array: Array, axis: int | None) -> Floats:
    """`array` as float32 [channels, values]."""
    # An FP64 beyond float32 becomes infinite here, and is then kept exactly.
    with np.errstate(over="ignore"):
        values = np.asarray(array, np.float32)
    if axis is None:
        return values.reshape(1, -1)
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def fit(rows: Floats, bits: int, headroom: float = 0.0) -> Scales | None:
    """The scales for `rows`; None where they hold something that is not finite, or too large to be scaled.

    `headroom` widens the range on both sides by that share of it, for the frames that follow.
    """
    low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    # NaN and infinity go through min and max, so two small rows tell for all values.
    if not (np.abs(low) < _LARGEST).all() or not (np.abs(high) < _LARGEST).all():
        return None
    levels = (1 << bits) - 1
    if bits <= 4:
        low, high = _clipped(rows, low, high, bits)
    else:
        low = np.where((low >= 0) & (low <= (high - low) / levels), 0.0, low)
    margin = headroom * (high - low)
    return _rounded(np.where(low == 0, low, low - margin), high + margin, levels)


def quantise(rows: Floats, scales: Scales) -> Symbols:
    """The symbols of `rows`, [channels, values], rounded to nearest; what is out of range becomes the nearest end."""
    safe = np.where(scales.scale > 0, scales.scale, 1)
    inverse = np.where(scales.scale > 0, 1 / safe, 0).astype(np.float32)
    scaled = rows - scales.lo[:, None]
    scaled *= inverse[:, None]
    scaled += np.float32(0.5)
    np.clip(scaled, 0, scales.levels + np.float32(0.5), out=scaled)
    return scaled.astype(np.uint8)


def restore(symbols: Symbols, scales: Scales, datatype: np.dtype[np.generic]) -> Array:
    """The numbers of `symbols`, [channels, values], in `datatype`."""
    rows = symbols.astype(np.float32)
    rows *= scales.scale[:, None]
    rows += scales.lo[:, None]
    if datatype.itemsize == 2:
        np.clip(rows, -65504, 65504, out=rows)
    return rows.astype(datatype, copy=False)


def unpack_scales(parameters: bytes | memoryview, channels: int, bits: int) -> Scales:
    """The scales in the parameters of a frame. Raises `BadFrameError`."""
    form = parameters[0] if len(parameters) else 4
    width = 2 if form & _HALF else 4
    expected = 1 + width * channels * (1 if form & _ZERO_LO else 2)
    if form > 3 or len(parameters) != expected:
        raise BadFrameError(
            f"the frame's scales are {len(parameters)} bytes, not the {expected} of {channels} channels"
        )
    values = np.frombuffer(parameters, "<f2" if width == 2 else "<f4", offset=1).astype(np.float32)
    scale, lo = values[:channels], values[channels:] if len(values) > channels else np.zeros(channels, np.float32)
    if not np.isfinite(values).all() or (scale < 0).any() or (np.abs(values) > 2 * _LARGEST).any():
        raise BadFrameError("the frame's scales are not finite, or negative")
    return Scales(lo, scale, (1 << bits) - 1)


def bound(rows: Floats, scales: Scales) -> float:
    """The most by which a number of `rows` is off after `quantise` and `restore` (into float32)."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    top = scales.lo.astype(np.float64) + scales.scale.astype(np.float64) * scales.levels
    beyond = np.maximum(high - top, scales.lo - low)
    # Of float32 arithmetic: the product that is rounded to a symbol, and the sum that restores it.
    step = scales.scale.astype(np.float64) * (0.5 + scales.levels * 2.0**-22)
    rounding = 2.0**-22 * np.maximum(np.abs(scales.lo), np.maximum(np.abs(top), np.maximum(np.abs(low), np.abs(high))))
    return float((np.maximum(beyond, step) + rounding).max())


def _clipped(rows: Floats, low: Array, high: Array, bits: int) -> tuple[Array, Array]:
    positive = low >= 0
    mean = np.where(positive, 0.0, rows.mean(axis=1, dtype=np.float64))
    spread = np.abs(rows - mean[:, None].astype(np.float32)).mean(axis=1, dtype=np.float64)
    # The zeros of a rectified map belong to no half of a Laplace distribution.
    filled = np.count_nonzero(rows, axis=1) / rows.shape[1]
    spread = np.where(positive, spread / np.maximum(filled, 1 / rows.shape[1]), spread)
    reach = np.where(positive, _OPTIMUM[bits + 1], _OPTIMUM[bits]) * spread
    # A narrow band far from 0 is no rectified map: clipped from 0 it would become one symbol.
    far = positive & (low > (high - low))
    return np.where(positive & ~far, 0.0, np.where(far, low, np.maximum(low, mean - reach))), np.where(
        far, high, np.minimum(high, mean + reach)
    )


def _rounded(low: Array, high: Array, levels: int) -> Scales:
    """The scales of the ranges, in fp16 where that widens none of them much."""
    span = np.where(high - low > _SMALLEST * levels, high - low, 0.0)
    # Rounded down and up, so that the ends stay inside.
    with np.errstate(over="ignore"):
        half = low.astype(np.float16)
    half = np.where(half > low, np.nextafter(half, np.float16(-np.inf)), half)
    coarse = _up((high - half) / levels, np.float16)
    wider = coarse.astype(np.float64) * levels - span
    # A channel with next to nothing in it may be as coarse as its tensor hardly notices.
    fits = np.isfinite(half) & (wider <= np.maximum(_LOOSER * span, _UNNOTICED * span.max()))
    if fits.all():
        return Scales(half.astype(np.float32), coarse.astype(np.float32), levels)
    fine = low.astype(np.float32)
    fine = np.where(fine > low, np.nextafter(fine, np.float32(-np.inf)), fine)
    scale = _up(np.where(span > 0, (high - fine) / levels, 0.0), np.float32)
    return Scales(fine, scale, levels)


def _up(values: Array, kind: type[np.floating]) -> Array:
    with np.errstate(over="ignore"):
        rounded = values.astype(kind)
        return np.where(rounded < values, np.nextafter(rounded, kind(np.inf)), rounded).astype(kind)
