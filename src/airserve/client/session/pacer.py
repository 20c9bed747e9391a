"""How much of a session may be under way at once: what fills the link, and hardly more, so that no queue stands.

Delivery rate and shortest round trip as in BBR (draft-ietf-ccwg-bbr: delivery rate estimation), of frames and not of
packets; mean and deviation of the round trip as in RFC 6298. Knows nothing of clocks and sockets: times are monotonic
seconds, sizes bytes.
"""

from __future__ import annotations

from collections import deque

from airserve.client.session.frame import Sent

REQUEST_BYTES = 150
"""About what the head of a request takes on a connection that compresses heads."""

MOST_FRAMES = 32
"""More are never under way, however small they are."""

_SLACK_S = 0.05
"""So long a queue may stand: less, and each answer that jitter holds up would hold up frames too."""

_RATE_S = 2.0
_RTT_S = 10.0
_UNKNOWN_RTT_S = 0.1
_LEAST_PATIENCE_S = 0.12
_MARGIN_S = 0.05


class Pacer:
    """The state of one connection; `reset` it for another."""

    def __init__(self) -> None:
        self._rates: deque[tuple[float, float]] = deque()
        self._rtts: deque[tuple[float, float]] = deque()
        self._shortest: deque[tuple[float, float]] = deque()
        self.reset()

    def reset(self) -> None:
        """Another connection, perhaps over another network: nothing is known of it."""
        self._delivered = 0
        self._delivered_at = 0.0
        self._rates.clear()
        self._rtts.clear()
        self._shortest.clear()
        self._mean_s = self._deviation_s = 0.0
        self._answers = 0
        self.in_flight: dict[int, Sent] = {}
        self.heard_at = 0.0

    @property
    def in_flight_bytes(self) -> int:
        """The bytes of all frames without an answer."""
        return sum(each.size + REQUEST_BYTES for each in self.in_flight.values())

    @property
    def rtt_s(self) -> float:
        """The shortest time of the last ten seconds from a frame's departure to its answer, without the service's."""
        return min((rtt for _, rtt in self._rtts), default=_UNKNOWN_RTT_S)

    @property
    def rate(self) -> float:
        """The most bytes a second that were delivered lately; 0 before the first answer."""
        return max((rate for _, rate in self._rates), default=0.0)

    @property
    def answer_s(self) -> float:
        """What an answer takes, with the service's part: a mean in which newer ones count more."""
        return self._mean_s if self._answers else _UNKNOWN_RTT_S

    @property
    def window(self) -> float:
        """The product of bandwidth and delay, the bytes under way while the link is full, and a little more.

        The shortest answer's time has its own frame's departure in it: so another may leave while one is under way.
        """
        shortest = min((took for _, took in self._shortest), default=_UNKNOWN_RTT_S)
        return self.rate * (shortest + _SLACK_S)

    def may_send(self, now: float) -> bool:
        """Whether a frame may leave now. Nothing follows a frame whose answer is overdue."""
        if not self.in_flight:
            return True
        if now - min(each.at for each in self.in_flight.values()) > self.patience_s:
            return False
        return len(self.in_flight) < MOST_FRAMES and self.in_flight_bytes <= self.window

    def sent(self, sent: Sent, now: float) -> None:
        """A frame leaves."""
        if not self.in_flight:
            # What was not used is not what the link could not do: the time of silence does not count.
            self._delivered_at = now
        sent.at, sent.delivered, sent.delivered_at = now, self._delivered, self._delivered_at
        sent.attempts += 1
        self._forget(self._rates, now, _RATE_S)
        self.in_flight[sent.frame.number] = sent

    def answered(self, sent: Sent, now: float, service_s: float) -> None:
        """Its answer is there; `service_s` of its time was the service's own."""
        self.heard_at = now
        if self.in_flight.pop(sent.frame.number, None) is None:
            return
        self._delivered += sent.size + REQUEST_BYTES
        self._delivered_at = now
        took_s = max(now - sent.at, 1e-4)
        elapsed_s = max(now - sent.delivered_at, took_s)
        self._keep(self._rates, now, (self._delivered - sent.delivered) / elapsed_s, _RATE_S)
        self._keep(self._shortest, now, took_s, _RTT_S)
        self._keep(self._rtts, now, max(took_s - service_s, 1e-4), _RTT_S)
        self._learn(took_s)

    def lost(self, number: int) -> None:
        """A frame is not waited for any more."""
        self.in_flight.pop(number, None)

    @property
    def patience_s(self) -> float:
        """How long a connection may be silent while a frame is under way, before that says something."""
        if not self._answers:
            return 4 * _LEAST_PATIENCE_S
        return max(_LEAST_PATIENCE_S, self._mean_s + 4 * self._deviation_s + _MARGIN_S)

    def silent_at(self) -> float | None:
        """When the connection will have been silent for too long; None while nothing is under way."""
        if not self.in_flight:
            return None
        oldest = min(each.at for each in self.in_flight.values())
        return max(oldest, self.heard_at) + self.patience_s

    def _learn(self, took_s: float) -> None:
        self._answers += 1
        if self._answers == 1:
            self._mean_s, self._deviation_s = took_s, took_s / 2
            return
        self._deviation_s += 0.25 * (abs(took_s - self._mean_s) - self._deviation_s)
        self._mean_s += 0.125 * (took_s - self._mean_s)

    @staticmethod
    def _keep(samples: deque[tuple[float, float]], now: float, value: float, seconds: float) -> None:
        samples.append((now, value))
        Pacer._forget(samples, now, seconds)

    @staticmethod
    def _forget(samples: deque[tuple[float, float]], now: float, seconds: float) -> None:
        """Drop what is too old, but for the newest."""
        while len(samples) > 1 and now - samples[0][0] > seconds:
            samples.popleft()
