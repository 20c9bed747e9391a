"""What the front gives to wait on is resolved by the front alone, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airserve.server.uncancelled import sending, uncancelled


@pytest.mark.parametrize("broken", [False, True])
async def test_a_future_outlives_who_waits_for_it_and_is_not_missed(broken: bool) -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    future: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(_wait(future))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # As the front does, from a thread and without asking.
    loop.call_soon_threadsafe(*((future.set_exception, OSError("gone")) if broken else (future.set_result, None)))
    await asyncio.sleep(0.01)
    assert future.done() and not future.cancelled()
    del future
    await asyncio.sleep(0)
    assert told == []


async def test_results_and_errors_pass() -> None:
    async def coroutine() -> int:
        return 7

    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_soon(future.set_result, 5)
    assert (await uncancelled(future), await uncancelled(coroutine())) == (5, 7)
    failing: asyncio.Future[int] = loop.create_future()
    loop.call_soon(failing.set_exception, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await uncancelled(failing)


async def test_sending_hands_on_the_message() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await sending(send)({"type": "http.response.start"})
    assert sent == [{"type": "http.response.start"}]


async def _wait(future: asyncio.Future[None]) -> None:
    await uncancelled(future)
