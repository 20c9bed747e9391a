"""A circuit breaker: when another server fails again and again, leave it alone for a while.

Sans-IO: time comes in as an argument. Source: Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Result(enum.Enum):
    """What came of an attempt. `UNKNOWN` is one that was given up, which says nothing about the server."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one attempt; a `probe` is the only one while the breaker is half open."""

    probe: bool


class CircuitBreaker:
    """Closed; open after `limit` failures in a row; after `pause_ns` half open, when one probe decides.

    Each permit that `admit` gives comes back once through `settle`. Not thread-safe.
    """

    def __init__(self, *, limit: int, pause_ns: int) -> None:
        self._limit = limit
        self._pause_ns = pause_ns
        self._failures = 0
        self._open_until_ns: int | None = None
        self._probing = False

    def admit(self, now_ns: int) -> Permit | None:
        """A permit, or None while the breaker is open or its probe is under way."""
        if self._open_until_ns is None:
            return Permit(probe=False)
        if now_ns < self._open_until_ns or self._probing:
            return None
        self._probing = True
        return Permit(probe=True)

    def wait_ns(self, now_ns: int) -> int:
        """How long until it may be worth asking again, 0 while it is closed."""
        return 0 if self._open_until_ns is None else max(0, self._open_until_ns - now_ns)

    def settle(self, permit: Permit, result: Result, now_ns: int) -> None:
        """Tell what came of the attempt that `permit` was for.

        What was admitted before the breaker opened does not close it, nor keep it open: only the probe decides.
        """
        if permit.probe:
            self._probing = False
            if result is Result.SUCCEEDED:
                self._failures, self._open_until_ns = 0, None
            elif result is Result.FAILED:
                self._open_until_ns = now_ns + self._pause_ns
        elif self._open_until_ns is None:
            if result is Result.SUCCEEDED:
                self._failures = 0
            elif result is Result.FAILED:
                self._failures += 1
                if self._failures >= self._limit:
                    self._open_until_ns = now_ns + self._pause_ns
