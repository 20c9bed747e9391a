"""What to count on when things vary: the rate that RobustMPC would plan with, and quantiles of what was seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_LAST = 5


class RobustRate:
    """The harmonic mean of the last five rates, divided by 1 + the largest relative error that it lately made.

    Source: Yin et al., "A control-theoretic approach for dynamic adaptive video streaming over HTTP" (SIGCOMM 2015).
    """

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_LAST)
        self._errors: deque[float] = deque(maxlen=_LAST)

    def add(self, rate: float) -> None:
        """A rate that was seen, bytes a second, above 0."""
        if self._rates:
            # An estimate that was twice too high halves the next one; no single transfer does more.
            self._errors.append(min(abs(self._mean() - rate) / rate, 3.0))
        self._rates.append(rate)

    def value(self) -> float | None:
        """Bytes a second; None before two transfers have told of a rate."""
        if len(self._rates) < 2:
            return None
        return self._mean() / (1 + max(self._errors))

    def forget(self) -> None:
        """The link is another one."""
        self._rates.clear()
        self._errors.clear()

    def _mean(self) -> float:
        return len(self._rates) / sum(1 / rate for rate in self._rates)


def quantile(values: Iterable[float], q: float) -> float:
    """The `q`-quantile, linear between neighbours; `values` has at least one."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
