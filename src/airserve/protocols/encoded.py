"""A response as bytes, for whatever front sends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]
Stream = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Status, headers with lower-case names, and the body in pieces that were not copied together.

    The front that sends it frames it: `content-length` is not among the headers. A body whose length is not known
    when it begins is a `stream` instead: each piece leaves as it comes, and the front closes the stream, early where
    the client has gone. What fails after the first piece is told inside the stream; one that raises is cut off.
    """

    status: int
    headers: Headers
    chunks: list[bytes | memoryview] = field(default_factory=list)
    stream: Stream | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.chunks))
