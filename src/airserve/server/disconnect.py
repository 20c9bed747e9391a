"""Noticing that a client has gone while its call waits or runs, so that the work it wanted is dropped.

A watcher for every call would cost more than most calls take. So one sweep per event loop looks every 50 ms,
and asks only the fronts of calls that have been waiting for that long.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_INTERVAL_S = 0.05


class Disconnects:
    """Cancels the task of a request whose client has gone."""

    def __init__(self) -> None:
        self._sweepers = threading.local()

    def watch(self, receive: Receive) -> Watched:
        """A context in which the current task is cancelled when `receive` tells of a disconnect.

        Asking starts once `body_read` is set: before that, `receive` belongs to who reads the body.
        """
        return Watched(self._sweeper(), receive, asyncio.current_task())

    def _sweeper(self) -> _Sweeper:
        sweeper: _Sweeper | None = getattr(self._sweepers, "sweeper", None)
        if sweeper is None:
            sweeper = self._sweepers.sweeper = _Sweeper(asyncio.get_running_loop())
        return sweeper


class Watched:
    """One request under watch. Its context ends quietly when the client has `gone`: nobody is left to tell."""

    __slots__ = ("_sweeper", "asking", "body_read", "gone", "receive", "task")

    def __init__(self, sweeper: _Sweeper, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self._sweeper = sweeper
        self.receive = receive
        self.task = task
        self.body_read = False
        self.gone = False
        self.asking: asyncio.Task[None] | None = None

    def __enter__(self) -> Watched:
        self._sweeper.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._sweeper.remove(self)
        return self.gone and kind is asyncio.CancelledError

    def cancel(self) -> None:
        """Drop the request: its client has gone."""
        if self.task is not None:
            self.gone = True
            self.task.cancel()


class _Sweeper:
    """Of one event loop. Who is in `_young` at one sweep is old at the next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._young: set[Watched] = set()
        self._old: set[Watched] = set()
        self._running = False

    def add(self, watched: Watched) -> None:
        self._young.add(watched)
        if not self._running:
            self._running = True
            self._loop.call_later(_INTERVAL_S, self._sweep)

    def remove(self, watched: Watched) -> None:
        self._young.discard(watched)
        self._old.discard(watched)
        watched.task = None

    def _sweep(self) -> None:
        for watched in self._old:
            if watched.body_read and watched.asking is None:
                watched.asking = self._loop.create_task(_ask(watched))
        self._old |= self._young
        self._young = set()
        self._running = bool(self._old)
        if self._running:
            self._loop.call_later(_INTERVAL_S, self._sweep)


async def _ask(watched: Watched) -> None:
    # Some fronts answer `receive` only when the client goes or the response has left, others at once with an empty
    # message. It is never cancelled: pyvoy's cannot be.
    while watched.task is not None:
        if (await watched.receive())["type"] == "http.disconnect":
            watched.cancel()
            return
        await asyncio.sleep(_INTERVAL_S)
