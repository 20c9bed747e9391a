"""The rest of a download that was cut off: `Range: bytes=N-`. Source: RFC 9110 §14. Other ranges are not offered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from airserve.protocols.encoded import Encoded

_FROM = re.compile(rb"bytes=(\d{1,18})-")


def from_range(encoded: Encoded, wanted: bytes | None) -> Encoded:
    """`encoded`, or of it what `wanted`, the header `range`, asks for: 206, or 416 where there is nothing left."""
    whole = Encoded(encoded.status, [*encoded.headers, (b"accept-ranges", b"bytes")], encoded.chunks, encoded.stream)
    match = None if wanted is None or encoded.stream is not None else _FROM.fullmatch(wanted)
    if match is None or encoded.status != 200:
        # A range that is not understood is ignored, as the RFC asks.
        return whole
    start, length = int(match[1]), encoded.length
    if start >= length:
        return Encoded(416, [(b"content-range", b"bytes */%d" % length)])
    headers = [*whole.headers, (b"content-range", b"bytes %d-%d/%d" % (start, length - 1, length))]
    return Encoded(206, headers, list(_after(encoded.chunks, start)))


def _after(chunks: Sequence[bytes | memoryview], start: int) -> Iterator[bytes | memoryview]:
    """What follows the first `start` bytes; views, not copies."""
    for chunk in chunks:
        if start < len(chunk):
            yield memoryview(chunk)[start:]
        start = max(0, start - len(chunk))
