"""Named places at which a test lets the process die, as if killed at exactly this instruction.

Money must survive the end of the process between any two writes. Code that writes, syncs, renames or commits names the
places before and after with `crash_point`; a process that is started with `AIRSERVE_CRASH_POINT=journal.after_write:7`
kills itself (SIGKILL: no handler, no flush) when it passes that place for the seventh time. Without the variable a
place costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "AIRSERVE_CRASH_POINT"


class _Armed:
    """The one place that kills, and how many passes are left until it does."""

    def __init__(self, value: str) -> None:
        self.name, _, passes = value.partition(":")
        self.left = int(passes or 1)
        self.lock = threading.Lock()

    def passed(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_armed: _Armed | None = None


def arm(value: str | None) -> None:
    """Let this process die at the place `value` says, `<name>:<pass>`; None for nowhere."""
    global _armed
    _armed = _Armed(value) if value else None


def crash_point(name: str) -> None:
    """Die here if the process was told to; else do nothing."""
    if _armed is not None and _armed.name == name:
        _armed.passed()


arm(os.environ.get(VARIABLE))
