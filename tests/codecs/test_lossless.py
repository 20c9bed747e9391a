from __future__ import annotations

import numpy as np
import pytest

from airserve.codecs.lossless import COMPRESS, DECOMPRESS, compress, decompress
from airserve.core.errors import BadFrameError

SOME = (np.arange(3000, dtype="<u4") // 40).view(np.uint8)


@pytest.mark.parametrize("name", COMPRESS)
def test_bytes_come_back_and_are_fewer(name: str) -> None:
    payload, stored = compress(SOME, name, 4)
    assert stored == name
    assert len(payload) < SOME.size
    assert np.array_equal(decompress(memoryview(payload), name, SOME.size, 4), SOME)


@pytest.mark.parametrize("name", COMPRESS)
def test_what_does_not_become_smaller_is_stored_as_it_is(name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 500).astype(np.uint8)
    payload, stored = compress(noise, name, 1)
    assert (bytes(payload), stored) == (noise.tobytes(), "none")


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("size", [SOME.size - 1, SOME.size + 1, 1 << 40])
def test_another_size_than_the_one_asked_for_is_refused(name: str, size: int) -> None:
    if name == "lz4" and size > 1 << 31:
        pytest.skip("a shape of that size is refused before")
    with pytest.raises(BadFrameError):
        DECOMPRESS[name](memoryview(COMPRESS[name](SOME, 4)), size, 4)


@pytest.mark.parametrize("name", COMPRESS)
def test_data_that_is_cut_off_is_refused(name: str) -> None:
    payload = COMPRESS[name](SOME, 4)
    for cut in (0, 1, 10, 31, 40, len(payload) - 1):
        with pytest.raises(BadFrameError):
            DECOMPRESS[name](memoryview(payload[:cut]), SOME.size, 4)


@pytest.mark.parametrize("data", [SOME, np.zeros(3000, np.uint8), np.full(3000, 7, np.uint8)])
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_shuffled_items_of_every_size_come_back(data: np.ndarray, itemsize: int) -> None:  # type: ignore[type-arg]
    payload, stored = compress(data, "shuffle", itemsize)
    assert np.array_equal(decompress(memoryview(payload), stored, data.size, itemsize), data)


def test_shuffled_floats_compress_better() -> None:
    smooth = np.sin(np.linspace(0, 20, 5000)).astype("<f4").view(np.uint8)
    assert len(compress(smooth, "shuffle", 4)[0]) < 0.95 * len(compress(smooth, "zstd", 4)[0])
