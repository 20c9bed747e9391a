"""The search for a connection that answers: fresh sockets, several a second, until one does.

A packet that asks for a connection while the link is away is lost, and the kernel (RFC 6298: after 1 s, then 2 s) and
QUIC (RFC 9002: after 1 s without a sample) are slow to repeat it. So each attempt ends before that, and another socket
begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from airserve.client.exchange import HttpResponse
from airserve.client.session.frame import Sent
from airserve.client.session.line import Line, Ways
from airserve.core.errors import AirserveError

EVERY_S = 0.1
"""Another socket begins so often; the protocols take turns."""

ATTEMPT_S = 0.95
_MOST_AT_ONCE = 12
_LOOKS_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Found:
    """The line that answered first, its answer, and the frame that it answers; None for the smallest request."""

    line: Line
    response: HttpResponse
    sent: Sent | None


async def search(
    ways: Ways,
    ask: Callable[[Line], Awaitable[tuple[HttpResponse, Sent | None]]],
    address: Callable[[], str | None],
    every_s: Callable[[], float],
) -> Found:
    """The first line of `ways` over which `ask` is answered. It goes on until there is one: cancel it to end it.

    `address` is the device's own; as soon as it has another one, both protocols are tried at once. While there is none,
    nothing is tried. `every_s` is the pause between attempts.
    """
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[Found]] = set()
    network, turn, next_at = address(), 0, 0.0
    try:
        while True:
            now, here = loop.time(), address()
            begin = 0
            if here is not None:
                begin = len(ways.kinds) if here != network or not turn else int(now >= next_at)
                network = here
            for _ in range(min(begin, _MOST_AT_ONCE - len(running))):
                kind = ways.kinds[turn % len(ways.kinds)]
                running.add(loop.create_task(_attempt(ways, kind, ask)))
                turn, next_at = turn + 1, now + every_s()
            if running:
                done, running = await asyncio.wait(running, timeout=_LOOKS_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                good = [task.result() for task in done if task.exception() is None]
                if good:
                    for extra in good[1:]:
                        await extra.line.close()
                    return good[0]
                for task in done:
                    if not isinstance(task.exception(), AirserveError):
                        task.result()
            else:
                await asyncio.sleep(_LOOKS_EVERY_S)
    finally:
        for task in running:
            task.cancel()


async def _attempt(ways: Ways, kind: str, ask: Callable[[Line], Awaitable[tuple[HttpResponse, Sent | None]]]) -> Found:
    line = await ways.open(kind)
    try:
        response, sent = await ask(line)
    except BaseException:
        await line.close()
        raise
    return Found(line, response, sent)
