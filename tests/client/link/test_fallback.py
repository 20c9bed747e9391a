"""Which answer is taken when; both sides are events of the test."""

from __future__ import annotations

import asyncio
import time

import pytest

from airserve.client.link.fallback import first_answer
from airserve.core.errors import AirserveError, InvalidInputError, ModelFailedError, UnreachableError

FAR = 60.0


class Side:
    """A place that answers, or fails, when the test says so."""

    def __init__(self, name: str, outcome: AirserveError | None = None) -> None:
        self.name, self.outcome = name, outcome
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.outcome is not None:
            raise self.outcome
        return self.name


async def ask(cloud: Side, device: Side, deadline_s: float | None = FAR, *, late: bool = False) -> str:
    return await first_answer(
        cloud, device, began=time.monotonic(), due_s=deadline_s, cloud_p95_s=FAR, late=late, device_p95_s=0.01
    )


async def soon() -> None:
    await asyncio.wait_for(asyncio.sleep(0), FAR)


def test_the_cloud_answers_and_the_device_never_begins() -> None:
    async def run() -> None:
        cloud, device = Side("cloud"), Side("device")
        cloud.go.set()
        assert await ask(cloud, device) == "cloud"
        assert not device.begun.is_set()

    asyncio.run(run())


def test_a_cloud_that_is_silent_at_the_deadline_is_cancelled_for_the_device() -> None:
    async def run() -> None:
        cloud, device = Side("cloud"), Side("device")
        device.go.set()
        assert await ask(cloud, device, 0.05) == "device"
        assert cloud.begun.is_set()
        await soon()
        assert cloud.cancelled

    asyncio.run(run())


def test_the_device_begins_at_once_where_the_cloud_is_expected_late_and_the_cloud_still_wins_if_first() -> None:
    async def run() -> None:
        cloud, device = Side("cloud"), Side("device")
        asked = asyncio.create_task(ask(cloud, device, late=True))
        await device.begun.wait()
        device.go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done()
        cloud.go.set()
        assert await asked == "cloud"

    asyncio.run(run())


def test_a_lost_link_is_no_exception_and_waits_for_no_deadline() -> None:
    async def run() -> None:
        cloud, device = Side("cloud", UnreachableError("no link")), Side("device")
        cloud.go.set()
        device.go.set()
        assert await ask(cloud, device) == "device"
        assert await ask(cloud, device, None) == "device"

    asyncio.run(run())


def test_a_service_that_is_broken_is_no_exception_either() -> None:
    async def run() -> None:
        for error in (AirserveError("internal error"), ModelFailedError("the model failed")):
            cloud, device = Side("cloud", error), Side("device")
            cloud.go.set()
            device.go.set()
            assert await ask(cloud, device) == "device"

    asyncio.run(run())


def test_what_is_wrong_with_the_call_itself_is_told() -> None:
    async def run() -> None:
        cloud, device = Side("cloud", InvalidInputError("five columns")), Side("device")
        cloud.go.set()
        device.go.set()
        with pytest.raises(InvalidInputError, match="five columns"):
            await ask(cloud, device)

    asyncio.run(run())


def test_where_both_fail_the_clouds_error_is_told() -> None:
    async def run() -> None:
        cloud, device = Side("cloud", UnreachableError("no link")), Side("device", AirserveError("no memory"))
        cloud.go.set()
        device.go.set()
        with pytest.raises(UnreachableError, match="no link"):
            await ask(cloud, device)

    asyncio.run(run())


def test_a_device_that_fails_leaves_the_cloud_its_time() -> None:
    async def run() -> None:
        cloud, device = Side("cloud"), Side("device", AirserveError("no memory"))
        asked = asyncio.create_task(ask(cloud, device, late=True))
        await device.begun.wait()
        device.go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        cloud.go.set()
        assert await asked == "cloud"

    asyncio.run(run())
