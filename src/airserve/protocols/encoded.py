"""A response as bytes, for whatever front sends it."""

from __future__ import annotations

from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Status, headers with lower-case names, and the body in pieces that were not copied together."""

    status: int
    headers: Headers
    chunks: list[bytes | memoryview]
