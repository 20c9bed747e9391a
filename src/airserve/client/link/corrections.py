"""How far predictions were off, for each plan, and by how much the next one is to be corrected."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

_WEIGHT = 0.2
_MOST = math.log(4.0)


@dataclass(slots=True)
class _Correction:
    log_factor: float = 0.0
    seen: int = 0


class Corrections:
    """A factor for each plan (EWMA of seen / predicted, on a logarithmic scale), and the error of what was said."""

    def __init__(self) -> None:
        self._of: dict[Hashable, _Correction] = {}
        self._errors: deque[float] = deque(maxlen=50)

    def factor(self, key: Hashable) -> float:
        """What to multiply a plan's predicted time with; 1 for one never tried."""
        known = self._of.get(key)
        return 1.0 if known is None else math.exp(known.log_factor)

    def learn(self, key: Hashable, predicted_s: float, seen_s: float) -> None:
        """A call that was predicted to take `predicted_s`, corrected already, took `seen_s`."""
        if predicted_s <= 0 or seen_s <= 0:
            return
        self._errors.append(abs(seen_s - predicted_s) / seen_s)
        known = self._of.setdefault(key, _Correction())
        # One call alone moves it by a third at most: an outage is the link's, not the plan's.
        step = max(-1.0, min(math.log(seen_s / predicted_s), 1.0))
        known.log_factor = max(-_MOST, min(known.log_factor + _WEIGHT * step, _MOST))
        known.seen += 1

    def tried(self, key: Hashable) -> int:
        """How many calls have taken this plan."""
        known = self._of.get(key)
        return 0 if known is None else known.seen

    @property
    def error(self) -> float | None:
        """The mean relative error of the last fifty predictions; None before the first."""
        return sum(self._errors) / len(self._errors) if self._errors else None
