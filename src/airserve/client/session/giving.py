"""Frames as callers give them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from airserve.client.calls import new_call_id
from airserve.client.exchange import tensors_of
from airserve.client.session.frame import Frame
from airserve.core.errors import InvalidInputError


def new_frame(number: int, inputs: Mapping[str, Any]) -> Frame:
    """A frame that was made now. Arrays are copied: a camera writes the next picture into the same memory.

    Raises `InvalidInputError` for no inputs.
    """
    if not inputs:
        raise InvalidInputError("a frame has at least one input, by its name: session.send({'x': array})")
    tensors = {name: np.array(array) for name, array in tensors_of(inputs).items()}
    return Frame(number, tensors, new_call_id(), time.monotonic())
