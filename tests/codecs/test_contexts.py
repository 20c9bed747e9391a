from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.contexts import grid_of, has_contexts, passes, table_count


@given(st.integers(1, 3), st.integers(1, 9), st.integers(2, 9), st.sampled_from([2, 4]), st.integers(0, 1000))
def test_a_context_tells_of_earlier_passes_alone(rows: int, height: int, width: int, bits: int, seed: int) -> None:
    """What a decoder sees, places that are not known yet as 0, gives the contexts that the encoder saw."""
    maps = np.random.default_rng(seed).integers(0, 1 << bits, (rows, height, width)).astype(np.uint8)
    known = np.zeros_like(maps)
    seen = 0
    for (views, ids), (blanks, expected) in zip(passes(maps, bits), passes(known, bits), strict=True):
        assert np.array_equal(ids, expected)
        assert ids.max(initial=0) < table_count(bits)
        for view, blank in zip(views, blanks, strict=True):
            blank[:] = view
            seen += view.size
    assert np.array_equal(known, maps)
    assert seen == maps.size


@pytest.mark.parametrize(
    ("shape", "axis", "grid"),
    [((2, 3, 14, 15), 1, (14, 15)), ((2, 3, 40), 1, (1, 40)), ((40, 3), 1, (1, 40)), ((40, 3), None, (1, 3)),
     ((7,), None, (1, 7)), ((), None, (1, 1)), ((2, 3, 14, 1), 1, (1, 14))],
)  # fmt: skip
def test_the_maps_of_a_tensor_are_its_last_axes(
    shape: tuple[int, ...], axis: int | None, grid: tuple[int, int]
) -> None:
    assert grid_of(shape, axis) == grid


def test_bytes_and_single_places_have_no_contexts() -> None:
    assert has_contexts(4, (1, 2))
    assert not has_contexts(8, (14, 14))
    assert not has_contexts(4, (1, 1))
