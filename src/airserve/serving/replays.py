"""Calls that run once however often they are sent: who sends one again waits for its answer, or gets it from memory.

A call is known by its tenant and an id that is made of model, call id and body, so another body under an old id is
another call. The first attempt runs it; an attempt that comes meanwhile, on any connection and any event loop, waits;
one that comes later finds the answer for a while. Only answers are remembered: after a failure the next attempt runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from airserve.core.call import Reply
from airserve.serving.kept_reply import kept, size_of
from airserve.serving.tenant_memory import TenantMemory

Wake = Callable[["Reply | None"], None]


class Running:
    """A call that runs. `wakes` are told once what came of it: the reply, or None where there is none."""

    __slots__ = ("over", "wakes")

    def __init__(self) -> None:
        self.over = False
        # Hardly any attempt is waited for.
        self.wakes: list[Wake] | None = None


class Replays:
    """Of one process. Thread-safe; time, in nanoseconds, is an argument."""

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self._memory: TenantMemory[Reply] = TenantMemory(max_bytes, max_age_ns)
        self._running: dict[tuple[str, str], Running] = {}
        self._lock = threading.Lock()

    def begin(self, tenant: str, call: str, now_ns: int) -> Reply | Running | None:
        """The reply that was given before, or the attempt that runs now; None where this attempt is to run the call.

        After None, `end` has to be called, whatever becomes of the attempt.
        """
        with self._lock:
            running = self._running.get((tenant, call))
            if running is not None:
                return running
            # Asked under the lock: between the two, the attempt that runs could end.
            reply = self._memory.get(tenant, call, now_ns)
            if reply is None:
                self._running[tenant, call] = Running()
            return reply

    def end(self, tenant: str, call: str, reply: Reply | None, now_ns: int) -> None:
        """The attempt that ran has ended: with `reply`, which is kept unless it is large, or without."""
        if reply is not None and (size := size_of(reply)) <= self._memory.largest:
            reply = kept(reply)
            self._memory.put(tenant, call, reply, size, now_ns)
        with self._lock:
            running = self._running.pop((tenant, call), None)
            if running is None:
                return
            running.over = True
        for wake in running.wakes or ():
            wake(reply)

    def wait(self, running: Running, wake: Wake) -> bool:
        """Have `wake` called, on any thread, when `running` ends; False where it has ended: begin again."""
        with self._lock:
            if running.over:
                return False
            if running.wakes is None:
                running.wakes = []
            running.wakes.append(wake)
            return True

    def forget_expired(self, now_ns: int) -> None:
        """Let go of replies that are too old."""
        self._memory.forget_expired(now_ns)


async def outcome(replays: Replays, running: Running) -> Reply | None:
    """What came of an attempt that runs elsewhere: its reply, None where it has none and somebody else should run."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Reply | None] = loop.create_future()

    def wake(reply: Reply | None) -> None:
        try:
            loop.call_soon_threadsafe(_resolve, future, reply)
        except RuntimeError:
            # The loop has closed, and whoever waited on it has gone.
            return

    return await future if replays.wait(running, wake) else None


def _resolve(future: asyncio.Future[Reply | None], reply: Reply | None) -> None:
    if not future.done():
        future.set_result(reply)
