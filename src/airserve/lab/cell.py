"""One cell's capacity among several devices, by proportional fair share.

Whenever the cell is free, it serves the device that has had least of it lately, of those with something to send. With
channels of equal quality, as here, the proportional-fair metric (rate now over average rate) says just that.
Source: Jalali, Padovani, Pankaj, VTC 2000; its averages forget with a time constant of about 1,000 slots.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airserve.lab.capacity import Capacity

if TYPE_CHECKING:
    from airserve.lab.pipeline import Pipeline

_MEMORY_S = 0.5


class Cell:
    """What the pipelines of one direction share; each joins it when it is made."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._members: list[Pipeline] = []
        self._served: list[float] = []
        self._free = -math.inf

    def join(self, member: Pipeline) -> None:
        """One more device."""
        self._members.append(member)
        self._served.append(0.0)

    def advance(self, now_s: float) -> None:
        """Serve, of all devices, what can have begun by now."""
        while True:
            chosen, begin = self._choose()
            if chosen < 0 or begin > now_s:
                return
            member = self._members[chosen]
            size = member.serve(begin)
            forgotten = math.exp(-max(0.0, member.free_s - max(self._free, 0.0)) / _MEMORY_S)
            self._served = [served * forgotten for served in self._served]
            self._served[chosen] += size
            self._free = max(self._free, member.free_s)

    def next_begin(self) -> float:
        """When the cell serves again; infinite where nothing waits."""
        return self._choose()[1]

    def _choose(self) -> tuple[int, float]:
        """The device that is next, and when its service begins; -1 where nothing waits."""
        ready = [member.head_ready() for member in self._members]
        moment = max(self._free, min(ready))
        if moment == math.inf:
            return -1, math.inf
        candidates = [index for index, at in enumerate(ready) if at <= moment]
        chosen = min(candidates, key=self._served.__getitem__)
        return chosen, self.capacity.begin(ready[chosen], self._free)
