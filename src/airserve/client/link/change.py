"""Notice that a link has become another one: a two-sided CUSUM of prediction errors (Page, 1954)."""

from __future__ import annotations

import math

_DRIFT = 0.5
_THRESHOLD = 4.5
# One transfer alone, however late, is a lost packet; only the next one makes it a change.
_MOST_OF_ONE = 3.0


class ChangeDetector:
    """Counts how far the times of transfers stray from what was expected, in standard deviations of a quiet link."""

    def __init__(self, least_deviation: float = 0.15) -> None:
        self._least_deviation = least_deviation
        self._slower = self._faster = 0.0
        self._since_slower = self._since_faster = 0
        self._variance = (2 * least_deviation) ** 2

    def add(self, seconds: float, expected_s: float) -> int:
        """0 while nothing has changed, else how many of the newest transfers, this one included, saw the new link."""
        error = math.log(max(seconds, 1e-6) / max(expected_s, 1e-6))
        deviation = max(math.sqrt(self._variance), self._least_deviation)
        score = max(-_MOST_OF_ONE, min(error / deviation, _MOST_OF_ONE))
        self._slower, self._since_slower = _step(self._slower, self._since_slower, score)
        self._faster, self._since_faster = _step(self._faster, self._since_faster, -score)
        if max(self._slower, self._faster) >= _THRESHOLD:
            newest = self._since_slower if self._slower >= _THRESHOLD else self._since_faster
            self._slower = self._faster = 0.0
            self._since_slower = self._since_faster = 0
            return newest
        if abs(score) < _MOST_OF_ONE:
            self._variance += 0.1 * (error * error - self._variance)
        return 0


def _step(sum_so_far: float, since: int, score: float) -> tuple[float, int]:
    sum_now = max(0.0, sum_so_far + score - _DRIFT)
    return sum_now, since + 1 if sum_now > 0 else 0
