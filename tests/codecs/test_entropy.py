from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.entropy import decode_symbols, encode_symbols
from airserve.core.errors import BadFrameError

GRIDS = st.sampled_from([(1, 1), (1, 2), (1, 7), (2, 2), (3, 5), (7, 4), (14, 14)])


@given(
    st.integers(1, 40), st.integers(1, 3), GRIDS, st.sampled_from([2, 4, 8]), st.floats(0.01, 0.99), st.booleans(),
    st.integers(0, 1 << 20),
)  # fmt: skip
def test_symbols_come_back(
    rows: int, batch: int, grid: tuple[int, int], bits: int, p: float, smooth: bool, seed: int
) -> None:
    shape = (rows, batch * grid[0] * grid[1])
    symbols = np.minimum(np.random.default_rng(seed).geometric(p, shape) - 1, (1 << bits) - 1).astype(np.uint8)
    if smooth:
        symbols.sort(axis=1)
    payload = encode_symbols(symbols, bits, grid)
    assert np.array_equal(decode_symbols(payload, *shape, bits, grid), symbols)


def test_the_size_is_near_the_entropy() -> None:
    symbols = np.minimum(np.random.default_rng(0).geometric(0.7, (1, 50_000)) - 1, 15).astype(np.uint8)
    share = np.bincount(symbols[0], minlength=16) / symbols.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * symbols.size / 8
    assert entropy <= len(encode_symbols(symbols, 4, (1, 1))) < 1.01 * entropy + 50


def test_rows_that_differ_have_histograms_of_their_own() -> None:
    dice = np.random.default_rng(0)
    symbols = (dice.random((64, 500)) < np.tile([0.01, 0.5], 32)[:, None]).astype(np.uint8)
    mixed = dice.permutation(symbols.reshape(-1)).reshape(64, 500)
    assert len(encode_symbols(symbols, 2, (20, 25))) < 0.75 * len(encode_symbols(mixed, 2, (20, 25)))


@pytest.mark.parametrize("grid", [(20, 25), (1, 500)])
def test_what_lies_around_a_place_tells_of_it(grid: tuple[int, int]) -> None:
    row, column = np.meshgrid(np.arange(grid[0]) / 4, np.arange(grid[1]) / 4, indexing="ij")
    wave = (np.sin(row + column + np.arange(8)[:, None, None]) > 0.3).reshape(8, -1).astype(np.uint8)
    assert len(encode_symbols(wave, 2, grid)) < 0.7 * len(encode_symbols(wave, 2, (1, 1)))


@pytest.mark.parametrize("grid", [(1, 1), (16, 40)])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 20, -1])
def test_what_is_cut_off_or_followed_by_more_is_refused(cut: int, grid: tuple[int, int]) -> None:
    symbols = np.random.default_rng(0).integers(0, 16, (1, 640)).astype(np.uint8)
    symbols[0, :320] = np.sort(symbols[0, :320])
    payload = encode_symbols(symbols, 4, grid)
    with pytest.raises(BadFrameError):
        decode_symbols(payload[:cut], 1, 640, 4, grid)
    with pytest.raises(BadFrameError):
        decode_symbols(payload + bytes(4), 1, 640, 4, grid)
