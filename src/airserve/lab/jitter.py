"""The delay that a packet gets beside the link's own: never negative, of a given standard deviation."""

from __future__ import annotations

import math
from random import Random

# A transport block carries all that is sent in a slot, and is late as a whole.
_SLOT_S = 0.001
# |N(0, 1)| has this standard deviation, and a mean of sqrt(2/π).
_DEVIATION = math.sqrt(1 - 2 / math.pi)


class Jitter:
    """Half-normal delays of standard deviation `jitter_s` and mean 1.32 times that, one a millisecond or a packet."""

    __slots__ = ("_delay", "_each", "_random", "_scale", "_slot")

    def __init__(self, jitter_s: float, *, each_packet: bool, seed: int | str) -> None:
        self._scale = jitter_s / _DEVIATION
        self._each = each_packet
        self._slot = -1
        self._delay = 0.0
        self._random = Random(f"jitter {seed}")  # noqa: S311

    def delay(self, now_s: float) -> float:
        """Seconds more for a packet that leaves now."""
        slot = int(now_s / _SLOT_S)
        if self._each or slot != self._slot:
            self._slot = slot
            self._delay = abs(self._random.gauss(0.0, self._scale))
        return self._delay
