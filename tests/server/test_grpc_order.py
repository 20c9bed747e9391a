"""One stream's requests at work together, their responses in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from airserve.server.apis.grpc.ahead import MOST_AT_ONCE, in_order


async def each(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_responses_keep_the_order_of_the_requests_though_later_ones_are_ready_first() -> None:
    ready = [asyncio.Event() for _ in range(5)]

    async def answer(number: int) -> AsyncGenerator[str, None]:
        if number:
            await ready[number].wait()
        yield f"{number}a"
        # Only once the next has been answered: they are at work at the same time.
        if number + 1 < len(ready):
            ready[number + 1].set()
        yield f"{number}b"

    ready[4].set()
    got = [response async for response in in_order(each(5), answer)]
    assert got == [f"{number}{half}" for number in range(5) for half in "ab"]


async def test_a_failure_comes_after_the_responses_to_what_came_before() -> None:
    async def answer(number: int) -> AsyncGenerator[int, None]:
        if number == 2:
            raise ValueError("two")
        await asyncio.sleep(0.01 * (3 - number))
        yield number

    got = []
    with pytest.raises(ValueError, match="two"):
        async for response in in_order(each(5), answer):
            got.append(response)  # noqa: PERF401  # what came before the failure is kept
    assert got == [0, 1]


async def test_a_request_that_cannot_be_read_ends_the_stream_after_the_others() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("damaged")

    async def answer(number: int) -> AsyncGenerator[int, None]:
        await asyncio.sleep(0.01)
        yield number

    got = []
    with pytest.raises(ValueError, match="damaged"):
        async for response in in_order(broken(), answer):
            got.append(response)  # noqa: PERF401  # what came before the failure is kept
    assert got == [1]


async def test_closing_it_ends_the_work_on_every_request() -> None:
    ended = []

    async def answer(number: int) -> AsyncGenerator[int, None]:
        try:
            if number:
                await asyncio.Event().wait()
            yield number
        finally:
            ended.append(number)

    async with aclosing(in_order(each(6), answer)) as responses:
        assert await anext(responses) == 0
        await asyncio.sleep(0)
    assert sorted(ended) == list(range(6))


async def test_no_more_requests_are_read_than_may_be_at_work() -> None:
    read = 0

    async def endless() -> AsyncIterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    async def answer(number: int) -> AsyncGenerator[int, None]:
        await asyncio.sleep(0.02)
        yield number

    async with aclosing(in_order(endless(), answer)) as responses:
        assert await anext(responses) == 1
        assert read <= MOST_AT_ONCE + 2


async def test_who_is_cancelled_again_while_it_closes_leaves_nothing_at_work() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def until_cancelled(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            ended.append(name)

    async def requests() -> AsyncIterator[int]:
        yield 1
        await until_cancelled("reading")

    async def answer(number: int) -> AsyncGenerator[int, None]:
        begun.set()
        await until_cancelled("answering")
        yield number

    async def read() -> None:
        async with aclosing(in_order(requests(), answer)) as responses:
            async for _ in responses:
                pass

    reader = asyncio.create_task(read())
    await begun.wait()
    for _ in range(3):
        reader.cancel()
        await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ended == ["reading", "answering"]
