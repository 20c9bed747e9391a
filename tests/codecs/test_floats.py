from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16

from airserve.codecs.floats import LARGEST_HALF, from_bfloat, to_bfloat, to_half


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=50))
def test_bf16_rounds_as_everybody_else_does(bits: list[int]) -> None:
    array = np.array(bits, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        expected = array.astype(bfloat16).astype(np.float32)
    upper = to_bfloat(array)
    if upper is None:
        assert np.isinf(expected[np.isfinite(array)]).any()
    else:
        assert np.array_equal(from_bfloat(upper), expected, equal_nan=True)


def test_a_number_that_would_become_infinite_is_not_coded() -> None:
    assert to_half(np.array([LARGEST_HALF, 65519.0, np.inf], np.float32)) is not None
    assert to_half(np.array([65520.0], np.float32)) is None
    assert to_bfloat(np.array([3.4e38], np.float32)) is None
    assert to_bfloat(np.array([LARGEST_HALF], np.float16)) is None
