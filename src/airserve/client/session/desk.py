"""Where each frame ends, once: answered, or given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airserve.client.link.answer import Told
from airserve.client.session.frame import Frame, FrameAnswer
from airserve.client.session.mailbox import Mailbox
from airserve.client.session.stats import RateMeter
from airserve.core.call import Tensors

Deliver = Callable[["FrameAnswer | Exception | None"], None]
"""Told each answer, the error that ends the session, and None at its end."""


@dataclass(slots=True)
class Counts:
    """Frames by how they ended; of the answered ones, those that came late and those that the device gave."""

    answered: int = 0
    dropped: int = 0
    late: int = 0
    on_device: int = 0


class Desk:
    """The frames that left the mailbox and have no end yet. All of it runs on one event loop."""

    def __init__(self, mailbox: Mailbox, deadline_s: float, deliver: Deliver) -> None:
        self.counts, self.meter = Counts(), RateMeter()
        self._mailbox, self._deadline_s, self._deliver = mailbox, deadline_s, deliver
        self._open: dict[int, Frame] = {}

    def begin(self, frame: Frame) -> None:
        """A frame is being worked on."""
        self._open[frame.number] = frame

    def give(self, frame: Frame, outputs: Tensors, told: Told, up_bytes: int) -> bool:
        """Deliver the answer to a frame, unless it has ended; whether it was delivered."""
        if self._open.pop(frame.number, None) is None:
            return False
        now = time.monotonic()
        late = now - frame.at > self._deadline_s
        self.meter.count(now)
        self.counts.late += late
        self.counts.on_device += told.place == "device"
        told = replace(told, late=late, elapsed_ms=(now - frame.at) * 1000)
        self._deliver(FrameAnswer(outputs, told, frame=frame.number, up_bytes=up_bytes))
        self.counts.answered += 1
        return True

    def drop(self, frame: Frame) -> None:
        """Give a frame up, unless it has ended."""
        if self._open.pop(frame.number, None) is not None:
            self.counts.dropped += 1

    def put_back(self, frame: Frame) -> None:
        """The frame waits again, unless a newer one does."""
        if self._open.pop(frame.number, None) is not None and not self._mailbox.put_back(frame):
            self.counts.dropped += 1

    def drop_waiting(self) -> None:
        """The frame that waits is too old, unless a newer one has come meanwhile."""
        frame = self._mailbox.take()
        if frame is None:
            return
        self.begin(frame)
        if time.monotonic() - frame.at <= self._deadline_s:
            self.put_back(frame)
        else:
            self.drop(frame)

    def drop_replaced(self) -> int:
        """Count the frames that newer ones have replaced; how many there were."""
        replaced = self._mailbox.replaced()
        self.counts.dropped += replaced
        return replaced
