"""Waiting for what must not be cancelled: what the front gives to wait on.

pyvoy resolves the futures of `receive` and `send` from a thread of its own and does not ask whether they were
cancelled meanwhile; each that was ends as a traceback in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

_T = TypeVar("_T")


async def uncancelled(given: Awaitable[_T]) -> _T:
    """What `given` ends with. Whoever waits here can be cancelled; a future that is waited for is left alone."""
    if asyncio.isfuture(given):
        try:
            result: _T = await asyncio.shield(given)
        except asyncio.CancelledError:
            # Nobody asks for its answer any more, and one that is an error would be logged as forgotten.
            given.add_done_callback(_look_at)
            raise
        return result
    # What is no future has its answer already, or is a coroutine, which cancelling suits.
    return await given


def _look_at(given: asyncio.Future[Any]) -> None:
    if not given.cancelled():
        given.exception()


def sending(
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    """`send` for a task that may be cancelled while it sends."""
    return lambda message: uncancelled(send(message))
