from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.compression import deflate, inflate
from airserve.core.errors import InvalidInputError, TooLargeError

LIMIT = 64 << 20


@given(st.binary(max_size=100_000), st.sampled_from(["gzip", "deflate"]), st.integers(1, 5))
def test_what_was_deflated_is_inflated(data: bytes, coding: str, parts: int) -> None:
    step = len(data) // parts + 1
    chunks = [data[start : start + step] for start in range(0, len(data), step)]
    assert inflate(deflate(chunks, coding), coding, LIMIT) == data


@pytest.mark.parametrize("size", [1 << 14, 100_000, 5 << 20])
def test_the_limit_is_exact(size: int) -> None:
    data = os.urandom(size)
    assert inflate(gzip.compress(data, 1), "gzip", size) == data
    with pytest.raises(TooLargeError, match="beyond the maximum"):
        inflate(gzip.compress(data, 1), "gzip", size - 1)


def test_a_bomb_is_known_by_its_beginning_and_takes_little() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="100 times"):
        inflate(bomb, "gzip", LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20


def test_a_bomb_behind_honest_data_is_held_to_the_ratio() -> None:
    data = os.urandom(100_000) + bytes(60 << 20)
    with pytest.raises(TooLargeError, match="100 times"):
        inflate(gzip.compress(data), "gzip", LIMIT)


def test_small_bodies_may_inflate_to_a_megabyte() -> None:
    assert inflate(gzip.compress(bytes(1 << 20)), "gzip", LIMIT) == bytes(1 << 20)


@pytest.mark.parametrize("size", [10, 100_000])
def test_what_is_cut_off_or_followed_by_more_is_refused(size: int) -> None:
    whole = zlib.compress(os.urandom(size))
    for damaged in (whole[:-1], whole[: len(whole) // 2], b""):
        with pytest.raises(InvalidInputError, match="cut off"):
            inflate(damaged, "deflate", LIMIT)
    for more in (b"x", whole, b"x" * 50_000):
        with pytest.raises(InvalidInputError, match="followed"):
            inflate(whole + more, "deflate", LIMIT)
