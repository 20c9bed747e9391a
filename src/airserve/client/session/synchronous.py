"""A session for threads: give frames on one, read answers on another, or on the same."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from airserve.client.link.loop_thread import LoopThread
from airserve.client.session.desk import Deliver
from airserve.client.session.engine import Engine
from airserve.client.session.frame import FrameAnswer
from airserve.client.session.giving import new_frame
from airserve.client.session.inbox import Inbox
from airserve.client.session.stats import SessionStats
from airserve.core.errors import InvalidInputError

OnAnswer = Callable[[FrameAnswer], None]
_LOOKS_EVERY_S = 0.01


class Session:
    """What `Client.session` gives. Thread-safe. `on_answer` is called with each answer, on a thread of its own."""

    def __init__(self, thread: LoopThread, make: Callable[[Deliver], Engine], on_answer: OnAnswer | None) -> None:
        self._thread = thread
        self._inbox, self._changed = Inbox(), threading.Condition()
        self._numbers, self._given = itertools.count(1), 0
        self._sending = threading.Lock()
        self._engine = make(self._deliver)
        self._loop = thread.run(_opened(self._engine))
        if on_answer is not None:
            threading.Thread(target=self._tell, args=(on_answer,), name="airserve-answers", daemon=True).start()

    def send(self, inputs: Mapping[str, Any]) -> int:
        """Give a frame, and its number. Never waits for the network: a frame that still waits is given up for it.

        Raises what ended the session, if anything did.
        """
        if self._inbox.over:
            self._inbox.raise_error()
            raise InvalidInputError("the session is closed; open another one")
        with self._sending:
            frame = new_frame(next(self._numbers), inputs)
            self._given = frame.number
            was_empty = self._engine.mailbox.put(frame)
        if was_empty:
            self._loop.call_soon_threadsafe(self._engine.wake)
        return frame.number

    def answers(self, timeout: float | None = None) -> Iterator[FrameAnswer]:
        """Answers as they come, until the session is closed, or none has come for `timeout` seconds.

        Raises what ended the session: what is wrong with the frames, the key, the budget.
        """
        while (answer := self.answer(timeout)) is not None:
            yield answer

    def answer(self, timeout: float | None = None) -> FrameAnswer | None:
        """The next answer; None after `timeout` seconds, or where the session is closed. Raises what `answers` does."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                answer = self._inbox.take()
                left_s = None if ends_at is None else ends_at - time.monotonic()
                if answer is not None or self._inbox.over or (left_s is not None and left_s <= 0):
                    return answer
                self._changed.wait(left_s)

    @property
    def stats(self) -> SessionStats:
        """What the session has counted so far."""
        return self._engine.stats(self._given, self._inbox.unread)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until no frame waits or is under way; False after `timeout` seconds."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        while not (self._engine.is_idle(self._given) or self._inbox.over):
            if ends_at is not None and time.monotonic() >= ends_at:
                return False
            time.sleep(_LOOKS_EVERY_S)
        return True

    def close(self) -> None:
        """End the session; what is under way is given up. Answers that came can still be read."""
        self._thread.run(self._engine.close())

    def _deliver(self, given: FrameAnswer | Exception | None) -> None:
        with self._changed:
            self._inbox.put(given)
            self._changed.notify_all()

    def _tell(self, on_answer: OnAnswer) -> None:
        for answer in self.answers():
            on_answer(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _opened(engine: Engine) -> asyncio.AbstractEventLoop:
    await engine.open()
    return asyncio.get_running_loop()
