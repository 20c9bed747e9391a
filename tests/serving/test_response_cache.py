from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airserve.core.call import Tensors
from airserve.serving.response_cache import inputs_digest

ARRAYS = st.one_of(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=3), elements=st.sampled_from([0.0, 1.0])),
    hnp.arrays(np.int32, hnp.array_shapes(max_dims=2, max_side=3), elements=st.sampled_from([0, 1])),
    st.lists(st.sampled_from([b"", b"a", b"ab", b"b"]), min_size=1, max_size=3).map(
        lambda each: np.array(each, object)
    ),
)
INPUTS = st.dictionaries(st.sampled_from(["x", "y", "xy"]), ARRAYS, min_size=1)


@given(INPUTS, INPUTS)
def test_inputs_have_the_same_digest_only_where_all_of_them_are_the_same(one: Tensors, two: Tensors) -> None:
    same = one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype
        and one[name].shape == two[name].shape
        and one[name].tolist() == two[name].tolist()
        for name in one
    )
    assert (inputs_digest(one) == inputs_digest(two)) == same


def test_minus_zero_is_another_input() -> None:
    zero, minus = ({"x": np.array([value], np.float32)} for value in (0.0, -0.0))
    assert inputs_digest(zero) != inputs_digest(minus)
