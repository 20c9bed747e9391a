"""Frames are opened and made off the event loop, unless they are small: a codec computes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from airserve.core.call import Reply, Tensors
from airserve.protocols.open_inference.coded import OFF_LOOP_FROM, Coded, References, open_frames, tensor_bytes
from airserve.protocols.open_inference.request import RequestedOutput

T = TypeVar("T")


async def opened(inputs: Tensors, coded: Sequence[Coded], references: References | None = None) -> Tensors:
    """`inputs` and the tensors of the frames in `coded`, which may be of a stream that has `references`."""
    if not coded:
        return inputs
    if tensor_bytes(coded) < OFF_LOOP_FROM:
        return inputs | open_frames(coded, references)
    return inputs | await asyncio.to_thread(open_frames, coded, references)


async def answered(outputs: Sequence[RequestedOutput], reply: Reply, encode: Callable[[], T]) -> T:
    """What `encode` makes of `reply`, in a thread where that sorts much or codes much."""
    for each in outputs:
        if each.classes or (each.codec is not None and reply.outputs[each.name].nbytes >= OFF_LOOP_FROM):
            return await asyncio.to_thread(encode)
    return encode()
