"""The clock that stamps calls. It decides the month that is billed, so it does not go back because a server's did."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

HOLD_NS = 3_600 * 1_000_000_000
"""How far the system's clock may go back while the last stamp is held; further back, the time before was the error."""


class BillingClock:
    """UTC nanoseconds that never fall, unless the system's clock falls by more than `HOLD_NS`. Thread-safe.

    `last_ns` is the last stamp of the start before, so that a clock that was set back in between is noticed too. What a
    clock that runs ahead has stamped stays as it is: nobody can tell afterwards.
    """

    def __init__(self, last_ns: int = 0, system_ns: Callable[[], int] = time.time_ns) -> None:
        self._last_ns = last_ns
        self._system_ns = system_ns
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """The stamp of a call that is admitted now."""
        with self._lock:
            now_ns = self._system_ns()
            behind_ns = self._last_ns - now_ns
            if 0 < behind_ns <= HOLD_NS:
                return self._last_ns
            if behind_ns > HOLD_NS:
                log.warning("the system's clock went back by %d s; calls are stamped with it", behind_ns // 10**9)
            self._last_ns = now_ns
            return now_ns
