"""The lossless stages for bytes: none, zstd, lz4, and bytes that are shuffled before zstd.

Each knows beforehand how many bytes come out, so that data which inflates to more is refused and never allocated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from airserve.codecs.optional import optional
from airserve.codecs.packing import Bytes
from airserve.core.errors import BadFrameError

ZSTD_LEVEL = 3
"""The highest level that pays on a link of some 200 Mb/s; on slower ones higher levels gain a few per cent more."""


def zstd(data: Bytes, itemsize: int) -> bytes:
    """RFC 8878, one frame with its content size."""
    return bytes(optional("zstandard", "codec zstd").ZstdCompressor(level=ZSTD_LEVEL).compress(data))


def unzstd(payload: memoryview, size: int, itemsize: int) -> bytes:
    """Raises `BadFrameError` where that isn't one frame of `size` bytes."""
    zstandard = optional("zstandard", "codec zstd")
    try:
        if zstandard.get_frame_parameters(payload).content_size != size:
            raise BadFrameError("the frame's zstd data is not of the size that its shape asks for")
        return bytes(zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise BadFrameError(f"the frame's zstd data is damaged: {error}") from None


def lz4(data: Bytes, itemsize: int) -> bytes:
    """One block, without its size."""
    return bytes(optional("lz4.block", "codec lz4").compress(data, store_size=False))


def unlz4(payload: memoryview, size: int, itemsize: int) -> bytes:
    """Raises `BadFrameError` where that isn't a block of `size` bytes."""
    block = optional("lz4.block", "codec lz4")
    try:
        data = bytes(block.decompress(payload, uncompressed_size=size))
    except (block.LZ4BlockError, ValueError) as error:
        raise BadFrameError(f"the frame's lz4 data is damaged: {error}") from None
    return _of_size(data, size, "lz4")


def shuffle(data: Bytes, itemsize: int) -> bytes:
    """The first bytes of all items, then the second ones, and so on (HDF5's shuffle filter), as `zstd`."""
    return zstd(data.reshape(-1, itemsize).T.ravel(), 1)


def unshuffle(payload: memoryview, size: int, itemsize: int) -> bytes:
    """Raises `BadFrameError` where that isn't `size` bytes of shuffled items."""
    return np.frombuffer(unzstd(payload, size, 1), np.uint8).reshape(itemsize, -1).T.tobytes()


def _of_size(data: bytes, size: int, name: str) -> bytes:
    if len(data) != size:
        raise BadFrameError(f"the frame's {name} data is not of the size that its shape asks for")
    return data


COMPRESS: dict[str, Callable[[Bytes, int], bytes]] = {"zstd": zstd, "lz4": lz4, "shuffle": shuffle}
DECOMPRESS: dict[str, Callable[[memoryview, int, int], bytes]] = {"zstd": unzstd, "lz4": unlz4, "shuffle": unshuffle}


def compress(data: Bytes, lossless: str, itemsize: int) -> tuple[bytes | memoryview, str]:
    """`data` compressed, and how: "none" where `lossless` would make it no smaller."""
    if lossless != "none" and data.size:
        packed = COMPRESS[lossless](data, itemsize)
        if len(packed) < data.size:
            return packed, lossless
    return np.ascontiguousarray(data).data if data.size else b"", "none"


def decompress(payload: memoryview, stored: str, size: int, itemsize: int) -> Bytes:
    """The `size` bytes in `payload`. Raises `BadFrameError`."""
    if stored == "none":
        if len(payload) != size:
            raise BadFrameError(f"the frame has {len(payload)} bytes of data; its shape asks for {size}")
        return np.frombuffer(payload, np.uint8)
    return np.frombuffer(DECOMPRESS[stored](payload, size, itemsize), np.uint8)
