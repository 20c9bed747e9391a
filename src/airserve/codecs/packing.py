"""Bits and bytes laid out so that they are few, or compress well."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def packed_size(count: int, bits: int) -> int:
    """The bytes of `count` symbols of 8, 4 or 2 bits."""
    return (count * bits + 7) // 8


def pack_symbols(symbols: Bytes, bits: int) -> Bytes:
    """Symbols of 8, 4 or 2 bits, the first in the lowest bits of a byte; the last byte is filled with zeros."""
    each = 8 // bits
    if each == 1:
        return symbols
    padded = np.zeros(packed_size(symbols.size, bits) * each, np.uint8)
    padded[: symbols.size] = symbols
    packed = padded[0::each].copy()
    for place in range(1, each):
        packed |= padded[place::each] << np.uint8(place * bits)
    return packed


def unpack_symbols(packed: Bytes, count: int, bits: int) -> Bytes:
    """The `count` symbols that `pack_symbols` was given."""
    each = 8 // bits
    if each == 1:
        return packed
    symbols = np.empty(packed.size * each, np.uint8)
    for place in range(each):
        symbols[place::each] = (packed >> np.uint8(place * bits)) & np.uint8((1 << bits) - 1)
    return symbols[:count]


def shuffle(data: Bytes, itemsize: int) -> Bytes:
    """The first bytes of all items, then the second ones, and so on; a rest that is no whole item stays at the end."""
    whole = data.size - data.size % itemsize
    moved = np.ascontiguousarray(data[:whole].reshape(-1, itemsize).T).reshape(-1)
    return moved if whole == data.size else np.concatenate((moved, data[whole:]))


def unshuffle(data: Bytes, itemsize: int) -> Bytes:
    """What `shuffle` was given."""
    whole = data.size - data.size % itemsize
    moved = np.ascontiguousarray(data[:whole].reshape(itemsize, -1).T).reshape(-1)
    return moved if whole == data.size else np.concatenate((moved, data[whole:]))
