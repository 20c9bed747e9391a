"""Where frames are opened and made: small ones here and now, others beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from airserve.codecs.frame import encode
from airserve.core.call import Reply
from airserve.core.errors import BadFrameError
from airserve.protocols.open_inference.coded import OFF_LOOP_FROM, Coded, coded_input
from airserve.protocols.open_inference.request import RequestedOutput
from airserve.server.coding import answered, opened


def frame_of(elements: int) -> Coded:
    array = np.ones(elements, np.float32)
    return coded_input("x", "fp32", "FP32", [elements], encode(array, "fp32"))


async def test_frames_are_opened_beside_the_inputs_that_came_as_they_are() -> None:
    plain = {"y": np.zeros(2)}
    assert await opened(plain, ()) is plain
    for elements in (4, OFF_LOOP_FROM):
        inputs = await opened(plain, [frame_of(elements)])
        assert set(inputs) == {"x", "y"}
        assert inputs["x"].tolist() == [1.0] * elements


async def test_the_event_loop_goes_on_while_a_large_frame_is_opened() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await opened({}, [frame_of(1 << 20)])
    counting.cancel()
    assert turns > 1


async def test_a_damaged_frame_is_refused_wherever_it_is_opened() -> None:
    for elements in (4, OFF_LOOP_FROM):
        good = frame_of(elements)
        bad = Coded(good.name, good.head, bytes(good.frame)[:-1] + b"?")
        with pytest.raises(BadFrameError):
            await opened({}, [bad])


@pytest.mark.parametrize(
    ("output", "elements", "beside"),
    [
        (RequestedOutput("y", True), OFF_LOOP_FROM, False),
        (RequestedOutput("y", True, codec="fp16"), 4, False),
        (RequestedOutput("y", True, codec="fp16"), OFF_LOOP_FROM, True),
        (RequestedOutput("y", False, classes=1), 4, True),
    ],
)
async def test_an_answer_is_made_in_a_thread_where_that_computes(
    output: RequestedOutput, elements: int, beside: bool
) -> None:
    reply = Reply("m", "1", {"y": np.zeros(elements, np.float32)})
    made: Any = await answered([output], reply, threading.get_ident)
    assert (made != threading.get_ident()) is beside
