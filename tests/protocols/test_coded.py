"""Coded tensors in requests: which codecs are taken, and frames that are not what was declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airserve.codecs.frame import encode
from airserve.core.call import Array
from airserve.core.errors import AirserveError, BadFrameError, CodecNotAcceptedError, InvalidInputError, TooLargeError
from airserve.core.tensor import TensorSpec
from airserve.models.manifest import CodecEntry
from airserve.protocols.open_inference.coded import (
    FREE_BYTES,
    MOST_GROWTH,
    check_accepted,
    check_size,
    codec_asked,
    coded_input,
    open_frames,
)

X = TensorSpec("x", "FP32", (-1, 4))
LISTED = (
    CodecEntry("x", "int8c+zstd"),
    CodecEntry("x", "topk:0.1"),
    CodecEntry("y", "fp16"),
    CodecEntry("x", "webp:60"),
)
ANY = st.binary(max_size=300)


def test_a_request_without_a_codec_asks_for_none() -> None:
    assert codec_asked({}, "x") is None
    assert codec_asked({"codec": "int4c+ans"}, "x") == "int4c+ans"


@pytest.mark.parametrize("codec", [1, True, 1.5, "", "int9", "fp16+gzip", "x" * 65, "INT8", "int8 "])
def test_what_is_no_codec_is_refused(codec: object) -> None:
    with pytest.raises(InvalidInputError):
        codec_asked({"codec": codec}, "x")


@pytest.mark.parametrize("codec", ["fp32", "fp32+zstd", "fp32+lz4", "int8c", "int8c+ans", "topk:0.1+zstd"])
def test_lossless_codecs_and_listed_lossy_stages_are_taken(codec: str) -> None:
    check_accepted("m", X, codec, LISTED)


@pytest.mark.parametrize("codec", ["int8+zstd", "int4c", "topk:0.2", "fp16", "bf16", "webp:60"])
def test_other_lossy_stages_are_refused_with_what_is_taken(codec: str) -> None:
    with pytest.raises(CodecNotAcceptedError, match=r"lose nothing, int8c\+zstd, topk:0\.1$"):
        check_accepted("m", X, codec, LISTED)


def test_half_precision_loses_nothing_of_half_precision() -> None:
    check_accepted("m", TensorSpec("x", "FP16", (-1,)), "fp16+zstd", ())


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-9, 9, width=32)), st.sampled_from(["fp32+zstd", "int8c", "fp16"])
)
def test_a_frame_opens_to_the_tensor_that_was_declared(array: Array, codec: str) -> None:
    coded = coded_input("x", codec, "FP32", [3, 4], encode(array, codec))
    check_size("m", [coded], array.nbytes)
    opened = open_frames([coded])["x"]
    assert (opened.shape, opened.dtype) == (array.shape, array.dtype)
    assert np.allclose(opened, array, atol=0.1)


def test_a_frame_that_is_not_what_was_declared_is_refused() -> None:
    frame = encode(np.zeros((3, 4), np.float32), "int8c+zstd")
    for codec, datatype, shape in (
        ("int8c", "FP32", [3, 4]), ("int8c+zstd", "FP64", [3, 4]), ("int8c+zstd", "FP32", [4, 3])
    ):  # fmt: skip
        with pytest.raises(BadFrameError, match="what was declared is"):
            coded_input("x", codec, datatype, shape, frame)


def test_frames_that_grow_too_much_are_refused_before_they_are_opened() -> None:
    rows = FREE_BYTES // 4000
    fits = coded_input("x", "fp32+zstd", "FP32", [rows, 1000], encode(np.zeros((rows, 1000), np.float32), "fp32+zstd"))
    assert fits.head.tensor_bytes > MOST_GROWTH * len(fits.frame)
    check_size("m", [fits], 1 << 30)
    with pytest.raises(TooLargeError, match="over the maximum allowed value of 1000"):
        check_size("m", [fits], 1000)
    with pytest.raises(TooLargeError, match="more than 200 times"):
        check_size("m", [fits, fits], 1 << 30)


@given(ANY, st.sampled_from(["fp32", "int8c+zstd", "int4c+ans"]))
def test_any_bytes_are_refused_as_a_bad_frame(data: bytes, codec: str) -> None:
    with pytest.raises(BadFrameError):
        coded_input("x", codec, "FP32", [3, 4], data)


@given(st.data(), st.sampled_from(["fp32+zstd", "int8c+zstd", "int4c+ans", "topk:0.5+lz4"]))
def test_a_changed_byte_is_noticed(data: st.DataObject, codec: str) -> None:
    frame = bytearray(encode(np.arange(12, dtype=np.float32).reshape(3, 4), codec))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AirserveError) as refusal:
        open_frames([coded_input("x", codec, "FP32", [3, 4], bytes(frame))])
    assert refusal.value.http_status in (400, 409, 413)
