from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airserve.codecs.compression import deflate, inflate
from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.errors import AirserveError, InvalidInputError, TooLargeError, UnsupportedEncodingError
from airserve.core.tensor import NUMPY_OF

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.sampled_from([name for name in NUMPY_OF if name != "BYTES"]), shapes, st.data())
def test_numbers_cross_unchanged(datatype: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(NUMPY_OF[datatype], shape))
    back = from_raw(bytes(to_raw(array)), datatype, shape, "x")
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_bytes_cross_unchanged(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert from_raw(bytes(to_raw(array)), "BYTES", [len(elements)], "x").tolist() == elements


def test_nothing_is_copied_on_the_way_in_or_out() -> None:
    body = bytearray(4 * 6)
    array = from_raw(memoryview(body), "FP32", [2, 3], "x")
    body[0:4] = np.float32(7).tobytes()
    assert array[0, 0] == 7
    contiguous = np.arange(6, dtype=np.float32)
    view = np.frombuffer(to_raw(contiguous), np.float32)
    assert np.shares_memory(view, contiguous)


def test_other_orders_and_strides_are_put_right() -> None:
    big = np.arange(6, dtype=">f4").reshape(2, 3)
    assert bytes(to_raw(big)) == big.astype("<f4").tobytes()
    assert bytes(to_raw(big.T)) == np.ascontiguousarray(big.T).astype("<f4").tobytes()


@given(st.sampled_from(sorted(NUMPY_OF)), st.binary(max_size=64), st.lists(st.integers(-2, 1 << 40), max_size=4))
def test_whatever_bytes_come_the_answer_is_a_tensor_or_a_sentence(datatype: str, raw: bytes, shape: list[int]) -> None:
    try:
        array = from_raw(raw, datatype, shape, "x")
    except AirserveError as error:
        assert error.http_status == 400
    else:
        assert list(array.shape) == shape


@pytest.mark.parametrize(
    ("raw", "count", "words"),
    [
        (b"\x05\x00\x00\x00ab", 1, "incomplete string data"),
        (b"\x01\x00", 1, "incomplete string length"),
        (b"\x01\x00\x00\x00a", 2, "unexpected number of string elements 1"),
        (b"\x00\x00\x00\x00" * 3, 2, "unexpected number of string elements 3"),
        (b"\xff\xff\xff\xff", 1, "incomplete string data"),
        (b"", 1 << 30, "unexpected number of string elements 0"),
    ],
)
def test_lengths_that_lie_are_refused(raw: bytes, count: int, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        from_raw(raw, "BYTES", [count], "x")


def test_booleans_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 or 1"):
        from_raw(b"\x02", "BOOL", [1], "x")


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "deflate"]))
def test_what_was_compressed_inflates_within_the_bound_or_is_refused(content: bytes, coding: str) -> None:
    packed = deflate([content], coding)
    assert inflate(packed, coding, len(content)) == content
    if content:
        with pytest.raises(TooLargeError):
            inflate(packed, coding, len(content) - 1)
    for damaged in (packed[:-1], packed + b"x"):
        with pytest.raises(AirserveError):
            inflate(damaged, coding, 10_000)


def test_other_codings_are_named() -> None:
    assert inflate(b"abc", "identity", 1) == b"abc"
    with pytest.raises(UnsupportedEncodingError, match="zstd"):
        inflate(b"abc", "zstd", 10)
