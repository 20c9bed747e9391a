"""Floats with fewer bits: fp16 (11 bits of precision, up to 65,504) and bf16 (8 bits, the range of float32).

A tensor with a finite number that would become infinite is not coded (None), so that the bound always holds.
"""

from __future__ import annotations

import numpy as np

from airserve.core.call import Array

LARGEST_HALF = 65504.0


def to_half(array: Array) -> Array | None:
    """`array` as float16, rounded to nearest even; None where a finite number is beyond `LARGEST_HALF`."""
    with np.errstate(over="ignore"):
        half = array.astype("<f2")
    return half if _as_finite(half, array) else None


def to_bfloat(array: Array) -> Array | None:
    """`array` as the upper halves of float32, uint16, rounded to nearest even; None where one becomes infinite."""
    with np.errstate(over="ignore"):
        single = array.astype("<f4")
    bits = single.view("<u4")
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    # Rounding could carry a NaN into infinity; one bit of its payload keeps it a NaN.
    upper = np.where(np.isnan(single), (bits >> 16).astype("<u2") | np.uint16(0x40), upper).astype("<u2")
    # Read back in the tensor's own datatype: just below the end of float16, bf16 rounds beyond it.
    with np.errstate(over="ignore"):
        return upper if _as_finite(from_bfloat(upper).astype(array.dtype), array) else None


def from_bfloat(upper: Array) -> Array:
    """The float32 numbers of `to_bfloat`."""
    return (upper.astype("<u4") << 16).view("<f4")


def half_bound(array: Array) -> float:
    """The most by which float16 is off for the numbers of `array`: half a unit in the last place of the largest."""
    return _largest(array) * 2.0**-11 + 2.0**-25


def bfloat_bound(array: Array) -> float:
    """The same for bf16; the second term is for FP64, which is rounded to float32 first."""
    return _largest(array) * (2.0**-8 + 2.0**-24) + 2.0**-133


def _largest(array: Array) -> float:
    values = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(values.max(initial=0.0))


def _as_finite(coded: Array, array: Array) -> bool:
    return bool(np.array_equal(np.isfinite(coded), np.isfinite(array)))
