"""What a session counts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionStats:
    """A picture of the moment.

    `given` frames became `answered` ones (of those `late` ones after the deadline, `on_device` ones on the device),
    `dropped` ones (replaced by newer ones, too old, or lost in an outage), or are still under way. `sent` counts what
    left for the service, `resent` what left again under its call id; `up_bytes` are of both. `unread` answers were
    given up because nobody read them. `rate` is answers a second over the last two seconds, `advised_rate` the frames
    a second that the link carries: a camera that gives more only warms the device. `resumptions` counts how often
    another connection took over, `outage_s` how long the last silence was. `reachable` is whether a connection stands,
    `transport` which, `codec` how the next frame will travel; `rtt_s` and `up` (bits a second delivered lately) are
    what the session has seen of the link.
    """

    given: int
    sent: int
    resent: int
    answered: int
    on_device: int
    dropped: int
    late: int
    unread: int
    up_bytes: int
    rate: float
    advised_rate: float
    resumptions: int
    outage_s: float
    reachable: bool
    transport: str
    codec: str
    rtt_s: float
    up: float
    in_flight: int


class RateMeter:
    """Events a second over the last `seconds`."""

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._times: deque[float] = deque()

    def count(self, now: float) -> None:
        """One more."""
        self._times.append(now)
        self._forget(now)

    def value(self, now: float) -> float:
        """How many a second; while fewer than `seconds` have passed, of what has."""
        self._forget(now)
        if len(self._times) < 2:
            return len(self._times) / self._seconds
        return len(self._times) / max(self._seconds if now - self._times[0] > 0.9 * self._seconds else
                                      now - self._times[0], 1e-3)  # fmt: skip

    def _forget(self, now: float) -> None:
        while self._times and now - self._times[0] > self._seconds:
            self._times.popleft()
