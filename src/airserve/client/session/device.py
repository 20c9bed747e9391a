"""The device's own answers to frames, by the model's small variant."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from airserve.client.link.answer import Answer
from airserve.client.link.ask import Ask
from airserve.client.link.caller import LinkCaller
from airserve.client.link.device_place import UNKNOWN_S
from airserve.client.session.frame import Frame
from airserve.client.session.options import SessionAsk
from airserve.core.errors import AirserveError

_TRIES_AGAIN_S = 10.0


class DeviceSide:
    """Answers one frame at a time. What the device needs is fetched and loaded in the background."""

    def __init__(self, caller: LinkCaller, ask: SessionAsk) -> None:
        self._caller, self._ask = caller, ask
        self._device_s: float | None = None
        self._busy = False

    @property
    def is_free(self) -> bool:
        """Whether a frame would be answered now."""
        return self._device_s is not None and not self._busy

    @property
    def takes_s(self) -> float | None:
        """What an answer takes, nearly always; None where the device has none."""
        return None if self._device_s is None else 1.5 * self._device_s + 0.005

    async def prepare(self) -> None:
        """Make ready; tries again until it is, or the model has no variant for devices."""
        while True:
            with suppress(AirserveError):
                ready = await self._caller.prepare(self._ask.model, self._ask.version)
                self._device_s = None if ready.device_ms is None else ready.device_ms / 1000
                return
            # The service cannot be reached; perhaps what the device needs was fetched before.
            self._device_s = UNKNOWN_S
            await asyncio.sleep(_TRIES_AGAIN_S)

    async def answer(self, frame: Frame) -> Answer | None:
        """The answer; None where the device fails."""
        self._busy = True
        try:
            began = time.monotonic()
            answer = await self._caller.infer(self._on_device(frame))
            self._device_s = time.monotonic() - began
        except AirserveError:
            self._device_s = None
            return None
        finally:
            self._busy = False
        return answer

    def _on_device(self, frame: Frame) -> Ask:
        ask = self._ask
        # Without a floor any variant may answer: the caller asked for the device's rather than none.
        return Ask(
            model=ask.model,
            inputs=frame.inputs,
            version=ask.version,
            outputs=ask.outputs,
            call_id=frame.call_id,
            accuracy=ask.accuracy or 0.0,
            place="device",
        )
