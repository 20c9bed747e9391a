"""Content codings of bodies, inflated within a bound (RFC 9110 §8.4.1; RFC 1950, 1952)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from airserve.core.errors import InvalidInputError, TooLargeError, UnsupportedEncodingError

_WINDOW_OF = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


MAX_RATIO = 100
"""How many times its own size a body may inflate to; what is below `_SMALL` may always. JSON comes to 3 to 20."""
_SMALL = 1 << 20
_STEP = 16 << 10

_FAST = 1
"""zlib's quickest level: JSON shrinks to half with it, and the next levels gain little for their time."""


def deflate(chunks: Iterable[bytes | memoryview], coding: str) -> bytes:
    """`chunks` as one compressed body; `coding` is gzip or deflate (in the zlib format, RFC 9110 §8.4.1.2)."""
    compressor = zlib.compressobj(_FAST, wbits=_WINDOW_OF[coding])
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


def inflate(body: bytes | memoryview, coding: str, limit: int) -> bytes | memoryview:
    """The content of `body`, at most `limit` bytes.

    Raises `UnsupportedEncodingError` for a coding other than gzip, deflate or identity, `TooLargeError` past the
    limit or `MAX_RATIO` (so that work and memory follow from what was sent), `InvalidInputError` for data that is
    damaged, cut off or followed by more.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW_OF:
        raise UnsupportedEncodingError(f"Content-Encoding '{coding[:40]}' is not spoken here; use gzip or deflate")
    decompressor = zlib.decompressobj(_WINDOW_OF[coding])
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(body), _STEP):
        piece = body[start : start + _STEP]
        # Held to the bound from the first step on: a bomb is known by its beginning.
        most = min(limit, max(_SMALL, MAX_RATIO * (start + len(piece))))
        try:
            # One byte more than allowed tells "too large" from "exactly as large as allowed".
            pieces.append(decompressor.decompress(piece, most + 1 - size))
        except zlib.error as error:
            raise InvalidInputError(f"the body is no valid {coding} data: {error}") from None
        size += len(pieces[-1])
        if size > limit:
            raise TooLargeError(f"the request body inflates beyond the maximum allowed value of {limit} bytes")
        if size > most:
            raise TooLargeError(f"the request body inflates to over {MAX_RATIO} times its size; send it uncompressed")
        if decompressor.unused_data or (decompressor.eof and start + _STEP < len(body)):
            raise InvalidInputError(f"the {coding} body is followed by other data")
    if not decompressor.eof:
        raise InvalidInputError(f"the {coding} body is cut off")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
