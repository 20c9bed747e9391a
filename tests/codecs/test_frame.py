from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.codec import Codec, is_lossless, parse
from airserve.codecs.error_bound import error_bound
from airserve.codecs.frame import decode, decode_frame, encode, encode_frame, read_head
from airserve.codecs.frame_head import Head, write_head
from airserve.core.call import Array
from airserve.core.errors import AirserveError, BadFrameError, InvalidInputError, MissingReferenceError, TooLargeError
from airserve.core.tensor import NUMPY_OF, datatype_of
from tests.codecs.tensors_for_tests import CODECS, feature_map, floats, others, same

LIMIT = 1 << 20
ENTRIES = st.sampled_from(CODECS)


def signed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def off(array: Array, back: Array) -> float:
    finite = np.isfinite(array)
    assert same(array[~finite], back[~finite])
    difference = np.abs(array[finite].astype(np.longdouble) - back[finite].astype(np.longdouble))
    return float(difference.max(initial=0))


@given(floats(), ENTRIES)
def test_numbers_come_back_within_the_bound(array: Array, codec: Codec) -> None:
    frame = encode(array, codec)
    back = decode(frame, max_bytes=array.nbytes)
    assert (back.shape, datatype_of(back)) == (array.shape, datatype_of(array))
    assert off(array, back) <= error_bound(array, codec)
    if is_lossless(codec, datatype_of(array)):
        assert same(array, back)


@given(others(), ENTRIES)
def test_other_tensors_come_back_as_they_were_or_are_refused(array: Array, codec: Codec) -> None:
    if codec.lossy != "fp32":
        with pytest.raises(InvalidInputError, match="use 'fp32"):
            encode(array, codec)
        return
    frame = encode(array, codec)
    assert same(decode(frame, max_bytes=LIMIT), array)
    assert read_head(frame).tensor_bytes <= LIMIT


@given(floats(), ENTRIES)
def test_a_frame_is_never_much_larger_than_the_tensor(array: Array, codec: Codec) -> None:
    frame = encode(array, codec)
    head = read_head(frame)
    assert len(frame) == head.frame_bytes
    # The sizes of five axes, and the scales of at most as many channels as a sixteenth of the values.
    assert len(frame) <= array.nbytes + 40 + 9 * (codec.bits > 0)


def test_the_head_of_a_feature_map_takes_at_most_forty_bytes() -> None:
    coded = encode_frame(feature_map(), "int4c+ans", key=1 << 20)
    assert coded.head.head_bytes <= 40
    assert read_head(coded.frame[: coded.head.head_bytes]) == coded.head


@given(st.data())
def test_a_frame_that_is_cut_off_is_refused(data: st.DataObject) -> None:
    frame = encode(data.draw(floats()), data.draw(ENTRIES))
    with pytest.raises(BadFrameError):
        decode(frame[: data.draw(st.integers(0, len(frame) - 1))], max_bytes=LIMIT)
    with pytest.raises(BadFrameError):
        decode(frame + b"\0", max_bytes=LIMIT)


@given(st.data())
def test_a_frame_with_any_bit_turned_is_refused(data: st.DataObject) -> None:
    frame = bytearray(encode(data.draw(floats()), data.draw(ENTRIES)))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises((BadFrameError, TooLargeError, MissingReferenceError)):
        decode(bytes(frame), max_bytes=LIMIT)


@given(st.data(), ENTRIES)
def test_damage_behind_a_good_checksum_is_decoded_or_refused_in_words(data: st.DataObject, codec: Codec) -> None:
    """The checksum guards against accidents alone; who means harm can compute it."""
    body = bytearray(encode(feature_map(shape=(1, 20, 6, 6)), codec)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(3, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = decode(signed(bytes(body)), max_bytes=LIMIT)
        assert back.nbytes <= LIMIT
    except AirserveError as error:
        assert error.http_status < 500
        assert len(error.message) < 400


@pytest.mark.parametrize("lossless", ["zstd", "lz4", "shuffle", "ans"])
@pytest.mark.parametrize("claimed", [(1 << 30,), (1 << 15, 1 << 15), (1 << 20, 1 << 10)])
def test_a_bomb_is_refused_from_its_head(lossless: str, claimed: tuple[int, ...]) -> None:
    bomb = write_head(Head(parse(f"fp32+{lossless}"), "UINT8", claimed, 20, stored=lossless, data_bytes=1 << 30))
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="maximum allowed"):
        decode(signed(bomb + bytes(20)), max_bytes=LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


@pytest.mark.parametrize("lossless", ["zstd", "lz4", "shuffle"])
def test_data_that_inflates_to_more_than_the_shape_is_refused(lossless: str) -> None:
    bomb = encode(np.zeros(1 << 24, np.uint8), f"fp32+{lossless}")
    head = read_head(bomb)
    payload = bomb[head.head_bytes : -4]
    start = write_head(Head(head.codec, "UINT8", (1 << 20,), len(payload), stored=lossless, data_bytes=1 << 20))
    tracemalloc.start()
    with pytest.raises(BadFrameError):
        decode(signed(start + payload), max_bytes=LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 << 20


def test_many_empty_texts_count_as_what_they_take_in_memory() -> None:
    texts = np.full(100_000, b"", object)
    with pytest.raises(TooLargeError):
        decode(encode(texts, "fp32+zstd"), max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (Head(parse("int8"), "FP32", (4,), 5, parameter_bytes=5, data_bytes=5), "do not fit its shape"),
        (Head(parse("int8"), "FP32", (4,), 4, parameter_bytes=1 << 30, data_bytes=4), "do not fit its shape"),
        (Head(parse("fp32+zstd"), "FP32", (4,), 17, stored="zstd", data_bytes=16), "larger than what it holds"),
        (Head(parse("int8"), "INT64", (4,), 4, data_bytes=4), "is for FP16, FP32, FP64"),
        (Head(parse("fp32"), "INT64", (1 << 31, 8), 4, data_bytes=4), "maximum size"),
        (Head(parse("fp32+ans"), "INT64", (1,), 8, stored="ans", data_bytes=8), "too wide"),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(head: Head, says: str) -> None:
    with pytest.raises(BadFrameError, match=says):
        read_head(write_head(head))


def test_a_difference_without_its_reference_asks_for_a_key_frame() -> None:
    first = encode_frame(feature_map(), "int8+zstd", key=7, headroom=0.1)
    second = encode_frame(feature_map(), "int8+zstd", reference=first.reference, key=8)
    assert second.head.reference_key == 7
    assert len(second.frame) < len(first.frame) / 20
    with pytest.raises(MissingReferenceError, match="frame 7"):
        decode(second.frame, max_bytes=LIMIT)
    stranger = encode_frame(feature_map()[:, :4], "int8+zstd", key=7)
    with pytest.raises(BadFrameError, match="another codec"):
        decode(second.frame, max_bytes=LIMIT, reference=stranger.reference)
    back = decode_frame(second.frame, max_bytes=LIMIT, reference=first.reference)
    assert off(feature_map(), back.array) <= error_bound(feature_map(), "int8") * 1.3


def test_values_beyond_a_stage_are_kept_exactly_and_the_frame_says_so() -> None:
    array = np.array([1.0, 70_000.0, np.nan, -np.inf], np.float32)
    for codec in ("fp16", "int8", "int4+zstd", "topk:0.5"):
        frame = encode(array, codec)
        assert read_head(frame).exact
        assert same(decode(frame, max_bytes=64), array)


def test_entropy_coding_takes_under_one_bit_a_value_of_sparse_features() -> None:
    array = feature_map(shape=(1, 96, 28, 28))
    frame = encode(array, "int2c+ans")
    assert read_head(frame).stored == "ans"
    assert 8 * len(frame) / array.size < 0.8


def test_where_entropy_coding_is_larger_zstd_takes_its_place() -> None:
    rows = np.tile(np.random.default_rng(0).integers(0, 256, 500).astype(np.uint8), 40)
    head = read_head(encode(rows, "fp32+ans"))
    assert (str(head.codec), head.stored) == ("fp32+ans", "zstd")


def test_a_dtype_without_a_datatype_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="complex64"):
        encode(np.zeros(3, np.complex64), "fp32")
    with pytest.raises(InvalidInputError, match="for pictures"):
        encode(np.zeros(3, NUMPY_OF["FP32"]), "webp:60")
