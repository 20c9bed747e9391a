"""Reading a request body from a front, whole and bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from airserve.core.errors import CancelledError, InvalidInputError, TooLargeError


async def read_body(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], headers: Mapping[bytes, bytes], limit: int
) -> bytes:
    """The body, at most `limit` bytes; a body that arrives in one piece is not copied.

    Raises `TooLargeError` before reading where Content-Length tells, else as soon as the limit is passed.
    """
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > limit):
        if not declared.isdigit():
            raise InvalidInputError("Content-Length is not a number")
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CancelledError("the client went away while it sent its request")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        if chunk:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> TooLargeError:
    """The refusal of a body over `limit` bytes."""
    return TooLargeError(f"the request body exceeds the maximum allowed value of {limit} bytes; send less at once")
