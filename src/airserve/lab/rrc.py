"""The radio that both directions share: after a silence it sleeps, and the next packet waits for it (RRC)."""

from __future__ import annotations

import struct
from collections.abc import MutableSequence
from typing import Any

from airserve.lab.link import Radio

STATE_BYTES = struct.calcsize("dd")


class SharedRadio:
    """Two numbers, in memory that the processes of both directions may share: when it was used last, and awake from.

    `state` is anything that holds two floats, such as `memoryview(...).cast("d")`.
    """

    __slots__ = ("_idle_after", "_state", "_wake")

    def __init__(self, radio: Radio, state: MutableSequence[float] | memoryview[Any]) -> None:
        self._idle_after = radio.idle_after_s
        self._wake = radio.wake_s
        self._state: Any = state

    def ready(self, now_s: float) -> float:
        """When a packet that comes now can be sent; it wakes the radio, or keeps it awake."""
        used, awake = self._state
        if now_s - used > self._idle_after:
            awake = now_s + self._wake
            self._state[1] = awake
        self._state[0] = max(used, awake, now_s)
        return awake if awake > now_s else now_s
