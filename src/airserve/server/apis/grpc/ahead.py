"""Several requests of one stream at work at the same time, their responses in the order of the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

MOST_AT_ONCE = 64
"""Requests of one stream that wait for their turn; more are not read before it is theirs."""


async def in_order(
    requests: AsyncIterator[Request], answer: Callable[[Request], AsyncGenerator[Response, None]]
) -> AsyncGenerator[Response, None]:
    """All that `answer` gives to each of `requests`. Closing it ends the reading and the work on every one of them.

    A failure to read, or one that `answer` raises, is raised after the responses to what came before.
    """
    at_work: set[Ahead[Response]] = set()

    async def begin() -> AsyncGenerator[Ahead[Response], None]:
        async for request in requests:
            begun = Ahead(answer(request))
            at_work.add(begun)
            yield begun

    async def end() -> None:
        await reading.close()
        for begun in list(at_work):
            await begun.close()

    reading = Ahead(begin(), room=MOST_AT_ONCE)
    try:
        async for begun in reading:
            async for response in begun:
                yield response
            at_work.discard(begun)
    finally:
        await _to_its_end(asyncio.create_task(end()))


async def _to_its_end(task: asyncio.Task[None]) -> None:
    """Wait for `task`, also when cancelled meanwhile, by a client that goes: who comes next finds nothing at work."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


class Ahead(Generic[T]):
    """An async generator that runs ahead of its reader in a task of its own; by `room` items at most, if not 0."""

    def __init__(self, items: AsyncGenerator[T, None], room: int = 0) -> None:
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue(room)
        self._task = asyncio.create_task(self._run(items))

    async def _run(self, items: AsyncGenerator[T, None]) -> None:
        end = _End()
        try:
            async with aclosing(items):
                async for item in items:
                    await self._queue.put(item)
        except Exception as error:
            end = _End(error)
        await self._queue.put(end)

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        while not isinstance(item := await self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    async def close(self) -> None:
        """End the work, if it has not ended."""
        self._task.cancel()
        await asyncio.wait([self._task])
