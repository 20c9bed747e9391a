"""How far predictions were off: what all plans share is the link's, what is left of it is the plan's own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

_COMMON_WEIGHT = 0.2
_OWN_WEIGHT = 0.1
_MOST_COMMON = math.log(4.0)
_MOST_OWN = math.log(1.5)
_FORGETS = 0.98
# A plan tried so often has half of what was seen of it believed.
_HALF_BELIEVED = 4


@dataclass(slots=True)
class _Correction:
    log_factor: float = 0.0
    seen: int = 0


class Corrections:
    """A factor for each plan (EWMA of seen / predicted, on a logarithmic scale), and the error of what was said.

    A link that has become slower makes the plan that is used look bad, and those that are not used good. So what
    one plan shows is held against all others first: only how it differs from them is taken for its own.
    """

    def __init__(self) -> None:
        self._common = 0.0
        self._of: dict[Hashable, _Correction] = {}
        self._errors: deque[float] = deque(maxlen=50)

    def factor(self, key: Hashable) -> float:
        """What to multiply a plan's predicted time with."""
        return math.exp(self._common + self._own(key))

    def learn(self, key: Hashable, predicted_s: float, seen_s: float) -> None:
        """A call that was predicted to take `predicted_s`, corrected already, took `seen_s`."""
        if predicted_s <= 0 or seen_s <= 0:
            return
        self._errors.append(abs(seen_s - predicted_s) / seen_s)
        # One call alone moves it by little: an outage is the link's, not the plan's.
        step = max(-1.0, min(math.log(seen_s / predicted_s), 1.0))
        known = self._of.setdefault(key, _Correction())
        known.log_factor = _within(known.log_factor + _OWN_WEIGHT * step, _MOST_OWN)
        known.seen += 1
        self._common = _within(self._common + _COMMON_WEIGHT * step, _MOST_COMMON)
        shared = sum(each.log_factor for each in self._of.values()) / len(self._of)
        for each in self._of.values():
            each.log_factor = _FORGETS * (each.log_factor - shared)

    def tried(self, key: Hashable) -> int:
        """How many calls have taken this plan."""
        known = self._of.get(key)
        return 0 if known is None else known.seen

    @property
    def error(self) -> float | None:
        """The mean relative error of the last fifty predictions; None before the first."""
        return sum(self._errors) / len(self._errors) if self._errors else None

    def _own(self, key: Hashable) -> float:
        known = self._of.get(key)
        return 0.0 if known is None else known.log_factor * known.seen / (known.seen + _HALF_BELIEVED)


def _within(value: float, most: float) -> float:
    return max(-most, min(value, most))
