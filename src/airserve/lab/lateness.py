"""How late packets leave the emulator: what shows that a machine is too slow for a link."""

from __future__ import annotations

LATE_S = 0.001
_GAIN = 0.05


class Lateness:
    """Counts packets, those more than a millisecond late, and the latest."""

    __slots__ = ("_late", "_most", "_packets", "_sum")

    def __init__(self) -> None:
        self._packets = 0
        self._late = 0
        self._sum = 0.0
        self._most = 0.0

    def add(self, late_s: float) -> None:
        """A packet left so long after it was due."""
        self._packets += 1
        self._sum += late_s
        if late_s > LATE_S:
            self._late += 1
        if late_s > self._most:
            self._most = late_s

    def summary(self) -> dict[str, float]:
        """Packets, the share of them that were late, and the mean and greatest lateness in seconds."""
        packets = max(1, self._packets)
        return {
            "packets": self._packets,
            "late_share": self._late / packets,
            "mean_s": self._sum / packets,
            "most_s": self._most,
        }


class Oversleeps:
    """By how much sleeps last longer than they were asked to; `usual_s` is a moving mean, 0 before the first.

    Outliers, as a busy machine makes, count as `LATE_S`.
    """

    __slots__ = ("usual_s",)

    def __init__(self) -> None:
        self.usual_s = 0.0

    def add(self, too_long_s: float) -> None:
        """A sleep lasted so much too long."""
        self.usual_s += (min(max(too_long_s, 0.0), LATE_S) - self.usual_s) * _GAIN
