from __future__ import annotations

import numpy as np
import pytest

from airserve.codecs.error_bound import error_bound
from airserve.codecs.frame import decode, encode
from airserve.core.errors import InvalidInputError
from tests.codecs.tensors_for_tests import feature_map


@pytest.mark.parametrize("codec", ["fp16", "bf16", "int8", "int8c", "int4", "int4c", "int2c", "topk:0.1"])
def test_the_bound_is_tight_for_a_map_of_features(codec: str) -> None:
    array = feature_map(shape=(1, 32, 28, 28))
    seen = float(np.abs(decode(encode(array, codec), max_bytes=array.nbytes) - array).max())
    assert seen <= error_bound(array, codec) <= 2.1 * seen


def test_nothing_is_lost_where_the_bound_is_zero() -> None:
    assert error_bound(np.arange(5), "fp32+zstd") == 0
    assert error_bound(np.array([1.0, np.nan], np.float32), "int8") == 0
    assert error_bound(np.empty((0, 3), np.float32), "int4c") == 0


def test_a_codec_that_is_not_for_the_datatype_has_no_bound() -> None:
    with pytest.raises(InvalidInputError, match="for INT64 use 'fp32'"):
        error_bound(np.arange(5), "int8")
