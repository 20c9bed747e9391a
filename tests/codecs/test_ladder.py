from __future__ import annotations

import numpy as np
import pytest

from airserve.codecs.frame import encode
from airserve.codecs.ladder import FIRST_FLIGHT_BYTES, ladder, rung_within, table
from airserve.core.errors import InvalidInputError
from tests.codecs.tensors_for_tests import feature_map


def test_a_ladder_tells_the_size_and_the_error_of_each_codec() -> None:
    rungs = ladder(feature_map())
    sizes = [rung.frame_bytes for rung in rungs]
    assert sizes == sorted(sizes, reverse=True)
    for rung in rungs:
        assert rung.frame_bytes == len(encode(feature_map(), rung.codec))
        assert rung.mean_error <= rung.max_error
    assert next(rung for rung in rungs if str(rung.codec) == "fp32").max_error == 0
    assert table(rungs).count("\n") == len(rungs)


def test_the_most_exact_rung_that_fits_is_taken() -> None:
    rungs = ladder(feature_map(shape=(1, 96, 28, 28)))
    taken = rung_within(rungs)
    assert taken.frame_bytes <= FIRST_FLIGHT_BYTES
    assert all(rung.frame_bytes > FIRST_FLIGHT_BYTES for rung in rungs if rung.mean_error < taken.mean_error)
    with pytest.raises(InvalidInputError, match="100 bytes or less"):
        rung_within(rungs, 100)


def test_integers_and_texts_have_lossless_rungs_alone() -> None:
    assert {rung.codec.lossy for rung in ladder(np.arange(50))} == {"fp32"}
    assert {rung.max_error for rung in ladder(np.array([[b"abc"]], object))} == {0.0}
