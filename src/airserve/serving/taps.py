"""Who looks at a sample of the calls of a version, and at their answers: shadows, agreement, drift.

A tap is told on the thread of a worker, after the replies have been delivered, so no call waits for it; but the
worker's next batch does. A tap that computes hands what it was given to a thread of its own, and drops what that has
no time for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from airserve.core.call import Call, Reply

log = structlog.get_logger("airserve.serving")

Tap = Callable[[Call, Reply], None]
"""Is given a call that was answered and its reply as the model gave it: before a plan's hardening, and maybe after
the client has gone. Neither may be changed. Arrays are views of memory that others read too: copy what is kept."""

PER_SECOND = 200
"""The most calls a second that taps are told of."""

_BURST = 64.0


class Taps:
    """The taps of one version; they outlive its being loaded and unloaded. Thread-safe.

    `if taps` is all that a call pays while there is none.
    """

    def __init__(self, per_second: float = PER_SECOND) -> None:
        self._taps: tuple[Tap, ...] = ()
        self._per_second = per_second
        self._lock = threading.Lock()
        self._room = _BURST
        self._filled_ns = 0
        self._failed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._taps)

    def add(self, tap: Tap) -> None:
        """Tell `tap` of calls from now on."""
        with self._lock:
            self._taps = (*self._taps, tap)

    def remove(self, tap: Tap) -> None:
        """Tell `tap` no more; one that was never added is no error."""
        with self._lock:
            self._taps = tuple(each for each in self._taps if each != tap)
            self._failed.discard(id(tap))

    def offer(self, answered: Sequence[tuple[Call, Reply]]) -> None:
        """Tell every tap of `answered`, or of as many of them, evenly spaced, as there is room for.

        What a tap raises is logged, the first time, and disturbs nobody.
        """
        count = self._take(len(answered), time.monotonic_ns())
        if not count:
            return
        for number in range(count):
            call, reply = answered[number * len(answered) // count]
            for tap in self._taps:
                try:
                    tap(call, reply)
                except Exception as error:
                    self._tell(tap, call, error)

    def _take(self, wanted: int, now_ns: int) -> int:
        with self._lock:
            self._room = min(_BURST, self._room + (now_ns - self._filled_ns) * self._per_second / 1e9)
            self._filled_ns = now_ns
            taken = min(wanted, int(self._room))
            self._room -= taken
            return taken

    def _tell(self, tap: Tap, call: Call, error: Exception) -> None:
        with self._lock:
            new = id(tap) not in self._failed
            self._failed.add(id(tap))
        if new:
            log.error("a tap failed; calls are not affected", model=call.model, tap=repr(tap), exc_info=error)
