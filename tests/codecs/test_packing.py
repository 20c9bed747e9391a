from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.packing import pack_symbols, packed_size, shuffle, unpack_symbols, unshuffle


@given(st.binary(max_size=200), st.sampled_from([2, 4, 8]))
def test_symbols_come_back_and_take_their_bits(data: bytes, bits: int) -> None:
    symbols = np.frombuffer(data, np.uint8) & np.uint8((1 << bits) - 1)
    packed = pack_symbols(symbols, bits)
    assert packed.size == packed_size(symbols.size, bits)
    assert np.array_equal(unpack_symbols(packed, symbols.size, bits), symbols)


@given(st.binary(max_size=200), st.sampled_from([1, 2, 4, 8]))
def test_shuffled_bytes_come_back(data: bytes, itemsize: int) -> None:
    assert unshuffle(shuffle(np.frombuffer(data, np.uint8), itemsize), itemsize).tobytes() == data


def test_alike_bytes_come_side_by_side() -> None:
    assert shuffle(np.array([1, 2, 3], "<u2").view(np.uint8), 2).tolist() == [1, 2, 3, 0, 0, 0]
