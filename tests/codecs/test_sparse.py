from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.sparse import from_sparse, kept, size_bounds, to_sparse
from airserve.core.errors import BadFrameError

SINGLE = np.dtype("<f4")


@given(st.integers(0, 3000), st.sampled_from([1, 1000, 30_000, 500_000, 1_000_000]), st.integers(0, 100))
def test_the_largest_values_come_back_and_the_others_are_zero(count: int, millionths: int, seed: int) -> None:
    flat = np.random.default_rng(seed).permutation(np.arange(1, count + 1)).astype(np.float32)
    data = to_sparse(flat, millionths)
    assert data is not None
    least, most = size_bounds(count, millionths)
    assert least <= len(data) <= most
    expected = np.where(flat > count - kept(count, millionths), flat.astype(np.float16), 0)
    assert np.array_equal(from_sparse(data, count, millionths, SINGLE), expected)


def test_zeros_fill_up_where_too_few_values_are_others() -> None:
    flat = np.zeros(100, np.float32)
    flat[[7, 90]] = 3, -1
    data = to_sparse(flat, 100_000)
    assert data is not None
    assert np.array_equal(from_sparse(data, 100, 100_000, SINGLE), flat)


def test_places_outside_of_the_tensor_are_refused() -> None:
    data = to_sparse(np.arange(1000, dtype=np.float32), 10_000)
    assert data is not None
    with pytest.raises(BadFrameError, match="outside"):
        from_sparse(data, 999, 10_000, SINGLE)
    with pytest.raises(BadFrameError, match="cut off"):
        from_sparse(data[:20], 1000, 10_000, SINGLE)
    with pytest.raises(BadFrameError, match="outside"):
        from_sparse(b"\xff" + data, 1000, 10_000, SINGLE)
