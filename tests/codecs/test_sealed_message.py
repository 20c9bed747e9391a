from __future__ import annotations

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from airserve.codecs import sealed_message as wire
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError, UnsealError
from airserve.core.tensor import NUMPY_OF

HEADER = wire.Header(b"12345678", 0x647A, 1, 2, b"c" * 32)
NUMBERS = [dtype for name, dtype in NUMPY_OF.items() if name != "BYTES"]
ARRAYS = st.one_of(
    shapes.arrays(object, shapes.array_shapes(max_side=3), elements=st.binary(max_size=9), fill=st.nothing()),
    st.sampled_from(NUMBERS).flatmap(lambda dtype: shapes.arrays(dtype, shapes.array_shapes(min_side=0, max_side=4))),
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3), st.none() | st.lists(st.text(max_size=4), max_size=2))
def test_what_is_packed_and_filled_up_comes_out_again(tensors: dict[str, Array], outputs: list[str] | None) -> None:
    content = wire.write_content(tensors, outputs)
    packed = wire.pack(wire.Inner(7, b"s" * 32, b"t" * 32, content))
    inner = wire.unpack(packed)
    assert len(packed) == wire.bucket(len(packed))
    assert (inner.sent_ns, inner.secret, inner.salt, bytes(inner.content)) == (7, b"s" * 32, b"t" * 32, content)
    read, asked = wire.read_content(inner.content)
    assert asked == outputs
    assert list(read) == list(tensors)
    for name, array in tensors.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes() if array.dtype != object else (read[name] == array).all()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_plaintext_or_refused_as_such(data: bytes) -> None:
    with contextlib.suppress(UnsealError, InvalidInputError):
        wire.read_content(wire.unpack(data).content)


@pytest.mark.parametrize(
    "part",
    [
        ["x", "FP32", [1], 2],
        ["x", "FP32", [-1], 4],
        ["x", "FP32", [1], -4],
        ["x", "FP99", [1], 4],
        ["x", "BYTES", [1 << 40], 4],
    ],
)
def test_a_tensor_that_does_not_fit_its_bytes_is_refused(part: list[object]) -> None:
    head = msgspec.msgpack.encode([[part], None])
    with pytest.raises(InvalidInputError):
        wire.read_content(len(head).to_bytes(4, "big") + head + b"1234")


def test_a_message_is_its_header_and_the_seal() -> None:
    header, sealed = wire.split(HEADER.raw + b"the seal")
    assert (header, bytes(sealed)) == (HEADER, b"the seal")
    for short in (b"", HEADER.raw[:-1], b"\x02" + HEADER.raw[1:]):
        with pytest.raises(UnsealError):
            wire.split(short)


def test_the_binding_tells_apart_whatever_a_call_is_bound_to() -> None:
    texts = [("m", "1", "c"), ("m", "1", ""), ("m1", "", "c"), ("m", "1c", ""), ("", "m1", "c")]
    assert len({wire.binding(HEADER, *text) for text in texts}) == len(texts)


@given(st.integers(0, 1 << 30))
def test_a_bucket_is_at_most_an_eighth_larger_and_a_bucket_itself(size: int) -> None:
    filled = wire.bucket(size)
    assert size <= filled <= max(wire.SMALLEST, size * 1.12 + 1)
    assert wire.bucket(filled) == filled


def test_few_buckets_stand_for_many_sizes() -> None:
    assert len({wire.bucket(size) for size in range(1, 1 << 16)}) < 140


def test_the_commitment_tells_contents_and_salts_apart() -> None:
    assert len({wire.commitment(salt, content) for salt in (b"a" * 32, b"b" * 32) for content in (b"x", b"y")}) == 4
    assert np.frombuffer(wire.commitment(b"a" * 32, b"x"), np.uint8).size == 32
