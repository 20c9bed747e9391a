"""Reading a request body from a front: whole, bounded, and at no less than a lowest pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from airserve.core.errors import CancelledError, InvalidInputError, RequestTimeoutError, TooLargeError
from airserve.server.uncancelled import uncancelled

MAX_PIECES = 1 << 16
"""The most pieces of a body: chunks of HTTP/1.1, frames of HTTP/2. Tiny ones cost far more than their bytes."""

GRACE_SECONDS = 30.0
BYTES_PER_SECOND = 1024
"""A body may come this slowly: a tenth of a poor mobile link; the grace covers a hand-over without a link."""


def pace(received: int) -> float:
    """Seconds after its head by which more of a body has to be there, when `received` bytes of it are."""
    return GRACE_SECONDS + received / BYTES_PER_SECOND


async def read_body(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], headers: Mapping[bytes, bytes], limit: int
) -> bytes:
    """The body, at most `limit` bytes; a body that arrives in one piece is not copied.

    Raises `TooLargeError` before reading where Content-Length tells, else as soon as the limit is passed, and
    `RequestTimeoutError` where the body comes too slowly.
    """
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > limit):
        if not declared.isdigit():
            raise InvalidInputError("Content-Length is not a number")
        raise too_large(limit)
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + GRACE_SECONDS) as timeout:
            return await _read(receive, limit, lambda size: timeout.reschedule(began + pace(size)))
    except TimeoutError:
        raise RequestTimeoutError("the request's body did not come in time; send it faster, or less") from None


async def _read(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limit: int, received: Callable[[int], None]
) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await uncancelled(receive())
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
        if len(chunks) > MAX_PIECES:
            raise InvalidInputError(f"the body comes in more than {MAX_PIECES} pieces; send larger ones")
        received(size)


def too_large(limit: int) -> TooLargeError:
    """The refusal of a body over `limit` bytes."""
    return TooLargeError(f"the request body exceeds the maximum allowed value of {limit} bytes; send less at once")
