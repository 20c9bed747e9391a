"""The pieces of one generation on their way from the engine's thread to the event loop that sends them.

At most `MAX_UNREAD` pieces wait: an engine that is faster than its reader is held. Whoever wants the generation to stop
says so here, and the engine hears it when it hands over its next piece.
"""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator

from airserve.core.errors import AirserveError, DeadlineExceededError
from airserve.core.generation import Piece

MAX_UNREAD = 256


class Stop(enum.Enum):
    """Why a generation has to end before its time."""

    GONE = "gone"
    LATE = "late"


def late() -> DeadlineExceededError:
    """What a generation ends with that its deadline stopped."""
    return DeadlineExceededError("Request timeout expired: the text was not finished in time; give it more time")


class PieceStream:
    """Written by one engine thread, read by one task of `loop`. `stopped` tells the writer to give up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline_ns: int) -> None:
        self.stopped: Stop | None = None
        self._loop = loop
        self._deadline_ns = deadline_ns
        self._changed = threading.Condition()
        self._pieces: deque[Piece] = deque()
        self._ending = self._ended = False
        self._error: AirserveError | None = None
        self._wake_sent = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: Piece) -> bool:
        """Hand over a piece, from the engine's thread; waits while too many are unread. False: stop generating."""
        with self._changed:
            while len(self._pieces) >= MAX_UNREAD and self.stopped is None:
                self._changed.wait()
            if self.stopped is not None:
                return False
            self._pieces.append(piece)
            self._wake()
        return True

    def settle(self) -> Stop | None:
        """From here on the deadline does not stop it any more, since it is about to be recorded; or why it stopped."""
        with self._changed:
            self._ending = self.stopped is None
            return self.stopped

    def end(self, final: Piece | None, error: AirserveError | None = None) -> None:
        """The last thing that the reader gets: the final piece, or `error`."""
        with self._changed:
            if final is not None:
                self._pieces.append(final)
            self._error = error
            self._ended = True
            self._wake()

    def stop(self, why: Stop) -> None:
        """Nothing of it is wanted any more."""
        with self._changed:
            if self.stopped is None and not (self._ending and why is Stop.LATE):
                self.stopped = why
                self._changed.notify()

    async def read(self) -> AsyncGenerator[Piece, None]:
        """The pieces as they come, on the loop; raises the error that ended them, at the deadline at the latest."""
        remaining_s = (self._deadline_ns - time.monotonic_ns()) / 1e9
        timer = self._loop.call_later(max(0.0, remaining_s), self._expire)
        try:
            while True:
                if self.stopped is Stop.LATE:
                    raise late()
                if (piece := self._take()) is not None:
                    yield piece
                elif self._ended:
                    if self._error is not None:
                        raise self._error
                    return
                else:
                    await self._more()
        finally:
            timer.cancel()

    def _take(self) -> Piece | None:
        with self._changed:
            self._changed.notify()
            return self._pieces.popleft() if self._pieces else None

    async def _more(self) -> None:
        with self._changed:
            if self._pieces or self._ended or self.stopped is not None:
                return
            self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        """Ask the loop to look, once for all pieces that come before it does. The lock is held."""
        if not self._wake_sent:
            self._wake_sent = True
            try:
                self._loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                # The loop has closed, and its readers with it.
                self.stopped = self.stopped or Stop.GONE

    def _look(self) -> None:
        with self._changed:
            self._wake_sent = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self) -> None:
        self.stop(Stop.LATE)
        self._look()
