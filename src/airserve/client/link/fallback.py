"""The best answer when one is due: the cloud's where it comes before, else the device's, begun in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from airserve.core.errors import (
    AirserveError,
    DeadlineExceededError,
    ModelLostError,
    NotImplementedHereError,
    OverloadedError,
    RateLimitedError,
    RequestTimeoutError,
    UnreachableError,
)

PASSING = (
    UnreachableError,
    OverloadedError,
    DeadlineExceededError,
    ModelLostError,
    RateLimitedError,
    RequestTimeoutError,
)
"""Refusals that say nothing against the call itself: the device may answer instead."""

_FAILED = 500

MARGIN = 0.1
"""The part of a deadline before whose end an answer must be there: timers fire late on a busy device, and it crosses
threads to the caller."""

_LEAST_PATIENCE_S = 1.0
# A busy device starts late, and is as slow as it was measured to be when it was not busy.
_EARLY = 0.15

Result = TypeVar("Result")


def lets_device_answer(error: BaseException) -> bool:
    """Whether the cloud's `error` is no reason against the device: a passing refusal, or a service that is broken."""
    if isinstance(error, NotImplementedHereError):
        return False
    return isinstance(error, PASSING) or (isinstance(error, AirserveError) and error.http_status >= _FAILED)


async def first_answer(
    cloud: Callable[[], Coroutine[Any, Any, Result]],
    device: Callable[[], Coroutine[Any, Any, Result]],
    *,
    began: float,
    due_s: float | None,
    cloud_p95_s: float,
    late: bool,
    device_p95_s: float,
) -> Result:
    """The cloud's answer if it is there `due_s` after `began` (monotonic), else the device's.

    The device begins at once where the cloud is expected to be `late`, else when little more than its own time is
    left, or as soon as the cloud has failed. With `due_s` None it begins when the cloud takes three times as long as
    nearly every call (but a second at least). Where neither is there in time, the first that comes is the answer.
    The cloud's call is cancelled when it is not needed any more. Raises the cloud's error where the device fails too.
    """
    loop = asyncio.get_running_loop()
    start_at, end_at = _times(began, due_s, cloud_p95_s, device_p95_s, late=late)
    running: dict[str, asyncio.Task[Result]] = {"cloud": loop.create_task(cloud())}
    failures: dict[str, AirserveError] = {}
    try:
        while True:
            now = loop.time()
            if "device" not in running and "device" not in failures and (now >= start_at or "cloud" in failures):
                running["device"] = loop.create_task(device())
            for place in ("cloud", "device"):
                task = running.get(place)
                if task is None or not task.done():
                    continue
                if (error := task.exception()) is None:
                    if place == "cloud" or now >= end_at or "cloud" in failures:
                        return task.result()
                elif not isinstance(error, AirserveError) or (place == "cloud" and not lets_device_answer(error)):
                    raise error
                else:
                    del running[place]
                    failures[place] = error
            if len(failures) == 2:
                raise failures["cloud"]
            if "cloud" in failures and "device" not in running:
                continue
            await _next_event(running, _timeout(loop.time(), start_at, end_at, running))
    finally:
        for task in running.values():
            task.cancel()


def _times(
    began: float, due_s: float | None, cloud_p95_s: float, device_p95_s: float, *, late: bool
) -> tuple[float, float]:
    """When the device begins, and until when the cloud may still come."""
    if due_s is None:
        patience = began + max(_LEAST_PATIENCE_S, 3 * cloud_p95_s)
        return patience, patience
    end_at = began + due_s
    return (began if late else end_at - 2 * device_p95_s - _EARLY * due_s), end_at


def _timeout(now: float, start_at: float, end_at: float, running: dict[str, asyncio.Task[Result]]) -> float | None:
    """Seconds until something is due by the clock alone; None where only an answer can change anything."""
    if "device" not in running:
        return max(0.0, start_at - now)
    if running["device"].done():
        return max(0.0, end_at - now)
    return None


async def _next_event(running: dict[str, asyncio.Task[Result]], timeout: float | None) -> None:
    """Sleep until a task ends or the time is over."""
    waiting = [task for task in running.values() if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    elif timeout:
        await asyncio.sleep(timeout)
