"""One request of HTTP/1.1 as it comes in: its head, and its body in pieces until somebody reads it whole."""

from __future__ import annotations

import asyncio
from typing import Protocol

from airserve.core.errors import HeadTooLargeError, InvalidInputError
from airserve.server.body import MAX_PIECES, too_large
from airserve.server.http import ONCE

MAX_FIELDS = 100
"""Header fields of one request; browsers and clients send 10 to 30, and the front allows HTTP/2 as many."""


class Reader(Protocol):
    """The connection that an exchange came on."""

    def want_body(self, exchange: Exchange) -> asyncio.Future[None]:
        """A future that is done when the body is whole."""
        ...


class Exchange:
    """One request as it comes in; `length` is None while the body is chunked.

    `began` is on the loop's clock; `answering` says that a part of the answer has left.
    """

    __slots__ = ("answering", "began", "body", "buffer", "chunks", "complete", "connection", "filled", "headers",
                 "keep_alive", "length", "limit", "method", "path", "started_ns", "version", "waiter")  # fmt: skip

    def __init__(self, connection: Reader) -> None:
        self.connection = connection
        self.method = ""
        self.path = b""
        self.version = ""
        self.headers: dict[bytes, bytes] = {}
        self.keep_alive = True
        self.length: int | None = None
        self.complete = False
        self.answering = False
        self.started_ns = 0
        self.began = 0.0
        self.chunks = 0
        # Pieces of the body until somebody reads it; then, where its length is known, one buffer.
        self.body: list[bytes] = []
        self.filled = 0
        self.buffer: memoryview | None = None
        self.limit = 0
        self.waiter: asyncio.Future[None] | None = None

    def add_header(self, name: bytes, value: bytes) -> None:
        """One field of the head. Raises `HeadTooLargeError` for one too many."""
        name = name.lower()
        if name == b"host" and name in self.headers:
            raise InvalidInputError("a request has one Host header")
        if len(self.headers) >= MAX_FIELDS:
            raise HeadTooLargeError(f"the request has more than {MAX_FIELDS} header fields; send fewer")
        value = value.rstrip(b" \t")
        if name in ONCE and name in self.headers:
            value = self.headers[name] + b"\n" + value
        self.headers[name] = value

    async def read(self, limit: int) -> bytes | memoryview:
        """The whole body. Raises `TooLargeError` before it is received where its length tells."""
        if max(self.length or 0, self.filled) > limit:
            raise too_large(limit)
        if not self.complete:
            self.limit = limit
            self.waiter = self.connection.want_body(self)
            await self.waiter
        if self.buffer is not None:
            return self.buffer
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def begin_chunk(self) -> None:
        """A chunk begins. Tiny ones would take a hundred times their size in memory."""
        self.chunks += 1
        if self.chunks > MAX_PIECES + 1:  # the last is the empty one that ends the body
            raise InvalidInputError(f"the body comes in more than {MAX_PIECES} chunks; send larger ones")

    def add(self, piece: bytes) -> None:
        """A piece that the parser has cut out."""
        end = self.filled + len(piece)
        if self.buffer is not None:
            self.buffer[self.filled : end] = piece
        else:
            self.body.append(piece)
        self.filled = end
        if self.waiter is not None and not self.waiter.done() and end > self.limit:
            self.waiter.set_exception(too_large(self.limit))

    def finish(self) -> None:
        """The body is whole."""
        self.complete = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
