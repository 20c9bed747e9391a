"""Answers as they come: iterators of text for threads and for event loops. Closing one early cancels its call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Self

import pyqwest

from airserve.client.chat import ChatEvents, ChatReply
from airserve.client.transport import NETWORK_ERRORS
from airserve.core.errors import AirserveError
from airserve.core.generation import TokenCounts

NoAnswer = Callable[[BaseException], AirserveError]


class ChatStream(Iterator[str]):
    """The pieces of one answer's text. Read to its end it closes itself; otherwise `close` it, or use `with`.

    Raises what `Client.chat` raises, at any step.
    """

    def __init__(
        self, opened: AbstractContextManager[pyqwest.SyncResponse], response: pyqwest.SyncResponse, no_answer: NoAnswer
    ) -> None:
        self._opened = opened
        self._content = iter(response.content)
        self._no_answer = no_answer
        self._events = ChatEvents()
        self._texts: deque[str] = deque()
        self._closed = False

    @property
    def reply(self) -> ChatReply:
        """What has come so far; the whole answer, with its usage, after the last piece."""
        return self._events.reply

    @property
    def usage(self) -> TokenCounts:
        """The tokens of the call, known after the last piece."""
        return self._events.reply.usage

    def __next__(self) -> str:
        try:
            while not self._texts:
                if self._closed or self._events.finished:
                    self.close()
                    raise StopIteration
                self._texts.extend(self._events.feed(self._receive()))
        except AirserveError:
            self.close()
            raise
        return self._texts.popleft()

    def _receive(self) -> bytes | memoryview:
        try:
            data = next(self._content, None)
        except NETWORK_ERRORS as error:
            raise self._no_answer(error) from error
        if data is None:
            self._events.end()
        return bytes(data or b"")

    def close(self) -> None:
        """Read no more; the service stops generating and charges what it has produced."""
        if not self._closed:
            self._closed = True
            self._opened.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncChatStream(AsyncIterator[str]):
    """Like `ChatStream`, for asyncio; `ends_at` is on the clock of the running loop."""

    def __init__(
        self,
        opened: AbstractAsyncContextManager[pyqwest.Response],
        response: pyqwest.Response,
        no_answer: NoAnswer,
        ends_at: float | None,
    ) -> None:
        self._opened = opened
        self._content = aiter(response.content)
        self._no_answer = no_answer
        self._ends_at = ends_at
        self._events = ChatEvents()
        self._texts: deque[str] = deque()
        self._closed = False

    @property
    def reply(self) -> ChatReply:
        """See `ChatStream.reply`."""
        return self._events.reply

    @property
    def usage(self) -> TokenCounts:
        """See `ChatStream.usage`."""
        return self._events.reply.usage

    async def __anext__(self) -> str:
        try:
            while not self._texts:
                if self._closed or self._events.finished:
                    await self.close()
                    raise StopAsyncIteration
                self._texts.extend(self._events.feed(await self._receive()))
        except AirserveError:
            await self.close()
            raise
        return self._texts.popleft()

    async def _receive(self) -> bytes | memoryview:
        try:
            async with asyncio.timeout_at(self._ends_at):
                data = await anext(self._content, None)
        except NETWORK_ERRORS as error:
            raise self._no_answer(error) from error
        if data is None:
            self._events.end()
        return bytes(data or b"")

    async def close(self) -> None:
        """See `ChatStream.close`."""
        if not self._closed:
            self._closed = True
            await self._opened.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
