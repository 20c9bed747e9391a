"""CoDel: drop from the head of a queue in which packets have waited too long for too long. Source: RFC 8289, §5."""

from __future__ import annotations

import math

TARGET_S = 0.005
INTERVAL_S = 0.1


class CoDel:
    """The state of RFC 8289's pseudocode, asked once for each packet that leaves the queue."""

    __slots__ = ("_above_until", "_count", "_dropping", "_last_count", "_mtu", "_next", "_owed", "_pass")

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self._above_until = 0.0
        self._next = 0.0
        self._count = 0
        self._last_count = 0
        self._dropping = False
        self._owed = False
        self._pass = False

    def drops(self, waited_s: float, left_bytes: int, now_s: float) -> bool:
        """Whether the packet that leaves now, after so long, is dropped; `left_bytes` are those behind it."""
        long_above = self._long_above(waited_s, left_bytes, now_s)
        if self._pass:  # the packet behind the one with which dropping began
            self._pass = False
            return False
        if self._dropping:
            return self._goes_on(long_above, now_s)
        if not long_above:
            return False
        self._dropping, self._pass = True, left_bytes > 0
        again_soon = self._count - self._last_count > 1 and now_s - self._next < 16 * INTERVAL_S
        self._count = self._count - self._last_count if again_soon else 1
        self._last_count = self._count
        self._next = now_s + INTERVAL_S / math.sqrt(self._count)
        return True

    def _goes_on(self, long_above: bool, now_s: float) -> bool:
        if not long_above:
            self._dropping = self._owed = False
            return False
        if self._owed:  # a drop moves the next one only when the packet behind it still waited too long
            self._next += INTERVAL_S / math.sqrt(self._count)
            self._owed = False
        if now_s < self._next:
            return False
        self._count += 1
        self._owed = True
        return True

    def _long_above(self, waited_s: float, left_bytes: int, now_s: float) -> bool:
        if waited_s < TARGET_S or left_bytes <= self._mtu:
            self._above_until = 0.0
            return False
        if self._above_until == 0.0:
            self._above_until = now_s + INTERVAL_S
            return False
        return now_s >= self._above_until
