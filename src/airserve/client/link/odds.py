"""How likely the cloud answers in time, by kind of call: the share of the calls that it did, newer ones first."""

from __future__ import annotations

from collections.abc import Hashable

_WEIGHT = 0.1
_AFTER_A_CHANGE = 0.5


class Odds:
    """Exponentially weighted means of in time (1) and not in time (0); of what was never tried the best is hoped."""

    def __init__(self) -> None:
        self._of: dict[Hashable, float] = {}

    def of(self, key: Hashable) -> float:
        """From 0 to 1."""
        return self._of.get(key, 1.0)

    def learn(self, key: Hashable, *, in_time: bool) -> None:
        """One more call of this kind was, or was not, answered in time."""
        known = self.of(key)
        self._of[key] = known + _WEIGHT * (in_time - known)

    def hope(self) -> None:
        """The link is another one, or back: what never was in time may be now."""
        for key, known in self._of.items():
            self._of[key] = max(known, _AFTER_A_CHANGE)
