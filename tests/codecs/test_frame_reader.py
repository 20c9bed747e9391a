from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.codec import parse
from airserve.codecs.frame import encode
from airserve.codecs.frame_head import MOST_HEAD_BYTES, Head, write_head
from airserve.codecs.frame_reader import FrameReader
from airserve.core.errors import BadFrameError, TooLargeError
from tests.codecs.tensors_for_tests import feature_map

FRAME = encode(feature_map(), "int4c+zstd")


@given(st.lists(st.integers(1, 3000), max_size=20))
def test_where_a_frame_is_cut_makes_no_difference(sizes: list[int]) -> None:
    reader = FrameReader(max_bytes=1 << 20)
    start = 0
    for size in [*sizes, len(FRAME)]:
        assert not reader.complete or start == len(FRAME)
        reader.feed(FRAME[start : start + size])
        start = min(len(FRAME), start + size)
    assert reader.complete
    assert reader.decode().array.shape == feature_map().shape


def test_a_bomb_is_refused_at_its_head() -> None:
    reader = FrameReader(max_bytes=1 << 20)
    head = write_head(Head(parse("fp32+zstd"), "UINT8", (1 << 30,), 1 << 20, stored="zstd", data_bytes=1 << 30))
    for place in range(len(head) - 1):
        reader.feed(head[place : place + 1])
    with pytest.raises(TooLargeError):
        reader.feed(head[-1:])


def test_what_follows_a_frame_is_refused() -> None:
    reader = FrameReader(max_bytes=1 << 20)
    reader.feed(FRAME[:-1])
    with pytest.raises(BadFrameError, match="followed"):
        reader.feed(FRAME[-1:] + b"x")


def test_a_head_that_never_ends_is_refused() -> None:
    reader = FrameReader(max_bytes=1 << 20)
    endless = encode(np.zeros((1,) * 64, np.float32), "fp32")[:8] + b"\x80" * MOST_HEAD_BYTES
    with pytest.raises(BadFrameError):
        for place in range(len(endless)):
            reader.feed(endless[place : place + 1])
    assert reader.head is None


def test_a_frame_that_is_not_complete_does_not_decode() -> None:
    reader = FrameReader(max_bytes=1 << 20)
    reader.feed(FRAME[:100])
    with pytest.raises(BadFrameError):
        reader.decode()
