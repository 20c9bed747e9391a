"""A response as bytes, for whatever front sends it."""

from __future__ import annotations

from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Status, headers with lower-case names, and the body in pieces that were not copied together.

    The front that sends it frames it: `content-length` is not among the headers.
    """

    status: int
    headers: Headers
    chunks: list[bytes | memoryview]

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.chunks))
