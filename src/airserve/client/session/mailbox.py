"""The one frame that waits to be sent: the newest wins."""

from __future__ import annotations

import threading

from airserve.client.session.frame import Frame


class Mailbox:
    """Room for one frame. Thread-safe: the caller puts on its own thread, and never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frame: Frame | None = None
        self._replaced = 0

    def put(self, frame: Frame) -> bool:
        """Leave `frame`; one that still waits is given up. Whether the mailbox was empty."""
        with self._lock:
            was_empty = self._frame is None
            self._replaced += not was_empty
            self._frame = frame
            return was_empty

    def put_back(self, frame: Frame) -> bool:
        """Leave `frame` again unless a newer one has come; whether it waits now."""
        with self._lock:
            if self._frame is not None:
                return False
            self._frame = frame
            return True

    @property
    def waiting(self) -> Frame | None:
        """The frame, left where it is."""
        return self._frame

    def take(self) -> Frame | None:
        """The frame, if there is one."""
        with self._lock:
            frame, self._frame = self._frame, None
            return frame

    def replaced(self) -> int:
        """How many frames were given up since this was last asked."""
        with self._lock:
            replaced, self._replaced = self._replaced, 0
            return replaced
