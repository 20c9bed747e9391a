"""Frames for the tests of sessions."""

from __future__ import annotations

import numpy as np

from airserve.client.exchange import HttpRequest
from airserve.client.link.answer import Told
from airserve.client.session.frame import Frame, FrameAnswer, Sent


def frame(number: int, at: float = 0.0) -> Frame:
    """A frame of four numbers."""
    return Frame(number, {"x": np.full((1, 4), number, np.float32)}, f"call-{number}", at)


def sent(number: int, size: int, at: float = 0.0) -> Sent:
    """A frame with a body of `size` bytes."""
    return Sent(frame(number, at), HttpRequest("POST", "/", {}, bytes(size)), "raw", 1.0)


def answer(number: int) -> FrameAnswer:
    """An answer to frame `number`."""
    return FrameAnswer({}, Told(), frame=number, up_bytes=0)
