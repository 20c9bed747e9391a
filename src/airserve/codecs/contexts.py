"""What is known of a symbol before it is coded: how full its channel is, and what lies around it.

A map [channels, height, width] is coded in three passes, so that each pass is one vectorised step on both sides:

    1 3 1 3     1: even row and column, nothing is known of the places around
    3 2 3 2     2: odd row and column, the four diagonal places are known
    1 3 1 3     3: the rest, the places above, below, left and right are known

The sum of the four known symbols, in a few steps, is the context. At the edge the inner place counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from airserve.codecs.packing import Bytes

Indices = npt.NDArray[np.int64]

_PASSES = (((0, 0),), ((1, 1),), ((0, 1), (1, 0)))
_STEPS = {2: tuple(range(1, 13)), 4: (1, 2, 3, 5, 8, 12, 17, 23, 31, 41)}
_LEVEL = {bits: np.searchsorted(steps, np.arange(256), side="right").astype(np.uint8) for bits, steps in _STEPS.items()}


def grid_of(shape: Sequence[int], axis: int | None) -> tuple[int, int]:
    """Height and width of the maps in a tensor of `shape`, whose channels are along `axis`; (1, n) for lines of n."""
    if len(shape) >= 4:
        height, width = shape[-2:]
    elif axis is not None and axis == len(shape) - 1:
        height, width = 1, int(np.prod(shape)) // shape[axis]
    else:
        height, width = 1, shape[-1] if shape else 1
    return (1, height) if width == 1 else (height, width)


def has_contexts(bits: int, grid: tuple[int, int]) -> bool:
    """Whether places of such a map have neighbours, and symbols of so many bits few enough contexts."""
    return bits in _STEPS and grid[1] > 1


def table_count(bits: int) -> int:
    """The number of contexts."""
    return 1 + 2 * (len(_STEPS[bits]) + 1)


def passes(maps: Bytes, bits: int) -> Iterator[tuple[list[Bytes], Bytes]]:
    """For each pass the views of `maps`, [rows, height, width], that it codes, and the context of each place in them.

    The views are to be filled before the next pass is asked for. Contexts are [rows, places], the views in order.
    """
    contexts = len(_STEPS[bits]) + 1
    for number, places in enumerate(_PASSES):
        views = [maps[:, row::2, column::2] for row, column in places]
        ids = [
            np.zeros(view.shape, np.uint8)
            if number == 0
            else _LEVEL[bits][_around(maps, row, column)] + np.uint8(1 + (number - 1) * contexts)
            for view, (row, column) in zip(views, places, strict=True)
        ]
        yield views, np.concatenate([each.reshape(len(maps), -1) for each in ids], axis=1)


def _around(maps: Bytes, row: int, column: int) -> Bytes:
    """The sums of the four known symbols around the places of one view."""
    _, height, width = maps.shape
    if not maps[:, row::2, column::2].size:
        return maps[:, row::2, column::2]
    left, right = _beside(width, column)
    if height == 1:
        return 2 * (maps[:, :, left] + maps[:, :, right])
    above, below = _beside(height, row)
    if row == column:
        # Above and below first, then left and right of those.
        lines = maps[:, above] + maps[:, below]
        return lines[:, :, left] + lines[:, :, right]
    return (
        maps[:, above, column::2]
        + maps[:, below, column::2]
        + maps[:, row::2][:, :, left]
        + maps[:, row::2][:, :, right]
    )


def _beside(size: int, parity: int) -> tuple[Indices, Indices]:
    """The places before and after those of one parity, mirrored at the ends, which keeps their parity."""
    places = np.arange(parity, size, 2)
    before, after = np.abs(places - 1), places + 1
    return before, np.where(after < size, after, size - 2)
