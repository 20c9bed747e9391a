"""The link as the client's own traffic shows it: round trip, rates, spread, loss, waking radio, sudden changes."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from airserve.client.link.change import ChangeDetector
from airserve.client.link.flights import INITIAL_WINDOW
from airserve.client.link.line import Line, Transfer, expected_s, fit, implied_rate
from airserve.client.link.pessimism import RobustRate, quantile

UNKNOWN = Line(rtt_s=0.07, rate=2.5e6)
UNKNOWN_DOWN = Line(rtt_s=0.07, rate=1.0e7)
SLEEPS_AFTER_S = 9.0
_KEPT = 24
_STEADY = 6
_SOUGHT_EVERY = 6
_LEAST_KEPT = 2
_RETRANSMISSION_S = 0.2
# What takes a smaller part of its time to leave is all waiting, and says nothing of a rate.
_TELLING = 0.15
_UNKNOWN_WAKE_S = 0.5


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. Times in seconds, `at` on a monotonic clock when the last byte was there.

    `head_s` runs from the request's first byte to the answer's first, without what the service itself took;
    `body_s` from there to the answer's last byte. `idle_s` is how long the link was silent before. `window` is the
    congestion window in bytes, `setup_trips` the round trips that a new connection took first.
    """

    at: float
    up_bytes: int
    down_bytes: int
    head_s: float
    body_s: float
    idle_s: float = 0.0
    window: float = INITIAL_WINDOW
    setup_trips: float = 0.0


class LinkEstimate:
    """Fed with one `Exchange` after another; knows nothing of clocks and sockets."""

    def __init__(self) -> None:
        self.changes = 0
        self._up: deque[Transfer] = deque(maxlen=_KEPT)
        self._down: deque[Transfer] = deque(maxlen=_KEPT)
        self._guess, self._guess_down = UNKNOWN, UNKNOWN_DOWN
        self._line, self._line_down = UNKNOWN, UNKNOWN_DOWN
        self._detector = ChangeDetector()
        self._robust, self._robust_down = RobustRate(), RobustRate()
        self._ratios: deque[float] = deque(maxlen=_KEPT)
        self._wakes: deque[float] = deque(maxlen=5)
        self._lost = 0.0
        self._since_sought = 0

    def add(self, seen: Exchange) -> None:
        """Learn from an answered request."""
        transfer = Transfer(seen.at, seen.up_bytes, seen.head_s, seen.window, 1 + seen.setup_trips)
        expected = expected_s(transfer, self._line)
        if seen.idle_s >= SLEEPS_AFTER_S:
            self._wakes.append(max(0.0, seen.head_s - expected))
            return
        known = len(self._up) > 1
        self._lose(seen.head_s - expected > max(_RETRANSMISSION_S, 3 * self.rtt_s) if known else False)
        self._learn(transfer, expected)
        if seen.down_bytes > INITIAL_WINDOW and seen.body_s > 0:
            down = Transfer(seen.at, seen.down_bytes, seen.body_s, INITIAL_WINDOW, 0.0)
            self._down.append(down)
            self._line_down = fit(self._down, Line(self.rtt_s, self._guess_down.rate), seen.at)
            if rate := implied_rate(down, Line(self.rtt_s, self._line_down.rate)):
                self._robust_down.add(rate)

    def late(self, at: float, up_bytes: int, waited_s: float, window: float, setup_trips: float) -> None:
        """No answer came within `waited_s`: at least so long would it have taken."""
        transfer = Transfer(at, up_bytes, waited_s, window, 1 + setup_trips)
        expected = expected_s(transfer, self._line)
        self._lose(lost=True)
        if waited_s > expected:
            self._learn(transfer, expected)

    @property
    def rtt_s(self) -> float:
        """Round-trip time, seconds."""
        return self._line.rtt_s

    @property
    def up_rate(self) -> float:
        """Uplink, bytes a second."""
        return self._line.rate

    @property
    def down_rate(self) -> float:
        """Downlink, bytes a second."""
        return self._line_down.rate

    @property
    def sure_up_rate(self) -> float:
        """The uplink to plan with, bytes a second: pessimistic, as RobustMPC is."""
        robust = self._robust.value()
        return self._line.rate / 2 if robust is None else min(robust, self._line.rate)

    @property
    def sure_down_rate(self) -> float:
        """The downlink to plan with, bytes a second."""
        robust = self._robust_down.value()
        return self._line_down.rate / 2 if robust is None else min(robust, self._line_down.rate)

    @property
    def spread(self) -> float:
        """How much times vary around what is expected: the 95th percentile of seen / expected, at least 1.1."""
        return max(1.1, quantile(self._ratios, 0.95)) if len(self._ratios) >= 3 else 1.5

    @property
    def loss(self) -> float:
        """The share of requests that were late by a retransmission or more, or had no answer; newer ones count more."""
        return self._lost

    @property
    def samples(self) -> int:
        """How many transfers the estimate rests on."""
        return len(self._up)

    def wake_s(self, idle_s: float, *, surely: bool = False) -> float:
        """What a radio takes to wake after `idle_s` of silence; `surely` for the worst seen lately."""
        if idle_s < SLEEPS_AFTER_S:
            return 0.0
        if not self._wakes:
            return _UNKNOWN_WAKE_S if surely else 0.0
        return max(self._wakes) if surely else sum(self._wakes) / len(self._wakes)

    def _learn(self, transfer: Transfer, expected: float) -> None:
        # While little is known, what strays from the line is the line's fault, and each fit mends that by itself.
        newest = self._detector.add(transfer.seconds, expected) if len(self._up) >= _STEADY else 0
        self._up.append(transfer)
        self._ratios.append(min(max(transfer.seconds / max(expected, 1e-6), 0.1), 10.0))
        if newest:
            self._begin_anew(newest)
        steady = self._line if not newest and len(self._up) > _STEADY and self._since_sought < _SOUGHT_EVERY else None
        self._since_sought = 0 if steady is None else self._since_sought + 1
        self._line = fit(self._up, self._guess, transfer.at, before=steady)
        if self._line.tells_rate:
            # What small bodies say nothing of is remembered from the large ones.
            self._guess = Line(self._guess.rtt_s, self._line.rate, 1 / self._line.rate)
        telling_s = _TELLING * expected_s(transfer, self._line)
        if transfer.size / self._line.rate >= telling_s and (rate := implied_rate(transfer, self._line)):
            self._robust.add(rate)

    def _begin_anew(self, newest: int) -> None:
        """Another link: keep the `newest` transfers; the line so far is the guess where they say nothing."""
        self.changes += 1
        self._guess = Line(self._line.rtt_s, math.sqrt(self._line.rate * UNKNOWN.rate))
        self._up = deque(list(self._up)[-max(newest, _LEAST_KEPT) :], maxlen=_KEPT)
        self._ratios.clear()
        self._robust.forget()
        self._robust_down.forget()

    def _lose(self, lost: bool) -> None:
        self._lost += 0.02 * (lost - self._lost)
