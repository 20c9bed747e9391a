"""A session for event loops."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from airserve.client.session.desk import Deliver
from airserve.client.session.engine import Engine
from airserve.client.session.frame import FrameAnswer
from airserve.client.session.giving import new_frame
from airserve.client.session.inbox import Inbox
from airserve.client.session.stats import SessionStats
from airserve.core.errors import InvalidInputError

_LOOKS_EVERY_S = 0.01


class AsyncSession:
    """What `AsyncClient.session` gives: `async with` opens it, `async for answer in session` reads it."""

    def __init__(self, make: Callable[[Deliver], Engine]) -> None:
        self._inbox, self._changed = Inbox(), asyncio.Event()
        self._numbers, self._given = itertools.count(1), 0
        self._engine = make(self._deliver)

    def send(self, inputs: Mapping[str, Any]) -> int:
        """See `Session.send`; it does not wait, so nothing is awaited."""
        if self._inbox.over:
            self._inbox.raise_error()
            raise InvalidInputError("the session is closed; open another one")
        frame = new_frame(next(self._numbers), inputs)
        self._given = frame.number
        self._engine.mailbox.put(frame)
        self._engine.wake()
        return frame.number

    async def answers(self, timeout: float | None = None) -> AsyncIterator[FrameAnswer]:
        """See `Session.answers`."""
        while (answer := await self.answer(timeout)) is not None:
            yield answer

    async def answer(self, timeout: float | None = None) -> FrameAnswer | None:
        """See `Session.answer`."""
        try:
            async with asyncio.timeout(timeout):
                while (answer := self._inbox.take()) is None and not self._inbox.over:
                    self._changed.clear()
                    await self._changed.wait()
                return answer
        except TimeoutError:
            return None

    def __aiter__(self) -> AsyncIterator[FrameAnswer]:
        return self.answers()

    @property
    def stats(self) -> SessionStats:
        """What the session has counted so far."""
        return self._engine.stats(self._given, self._inbox.unread)

    async def drain(self, timeout: float | None = None) -> bool:
        """See `Session.drain`."""
        try:
            async with asyncio.timeout(timeout):
                while not (self._engine.is_idle(self._given) or self._inbox.over):
                    await asyncio.sleep(_LOOKS_EVERY_S)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """See `Session.close`."""
        await self._engine.close()

    def _deliver(self, given: FrameAnswer | Exception | None) -> None:
        self._inbox.put(given)
        self._changed.set()

    async def __aenter__(self) -> Self:
        await self._engine.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
