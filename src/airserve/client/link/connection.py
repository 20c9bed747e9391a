"""What is assumed of one connection: whether it stands, and how far its congestion window has opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from airserve.client.link.flights import INITIAL_WINDOW

IDLE_TIMEOUT_S = 90.0
_SETUP_TRIPS = {"1.1": 1.0, "2": 2.0, "3": 1.0}
_MOST_WINDOW = 4 << 20


@dataclass(slots=True)
class Connection:
    """A connection of one kind ("1.1", "2", "3"). Times are seconds on one monotonic clock."""

    kind: str
    encrypted: bool = True
    last_at: float | None = field(default=None, init=False)
    _window: float = field(default=INITIAL_WINDOW, init=False)

    def setup_trips(self, now: float) -> float:
        """Round trips before a request can leave: 0 while it stands, 1 for QUIC or TCP, 2 for TCP with TLS 1.3."""
        if self.last_at is not None and now - self.last_at < IDLE_TIMEOUT_S:
            return 0.0
        return 2.0 if self.kind == "1.1" and self.encrypted else _SETUP_TRIPS[self.kind]

    def window(self, now: float, rtt_s: float) -> float:
        """Bytes that may be under way at once. The kernel's TCP begins anew after one silent retransmission timeout."""
        if self.last_at is None:
            return INITIAL_WINDOW
        forgets_after = 2.0 if self.kind == "3" else 0.2 + rtt_s
        return INITIAL_WINDOW if now - self.last_at > forgets_after else self._window

    def carried(self, size: float, now: float, rtt_s: float) -> None:
        """A request of `size` bytes was answered. In slow start, each byte acknowledged opens the window by one."""
        self._window = min(self.window(now, rtt_s) + size, _MOST_WINDOW)
        self.last_at = now

    def lost(self) -> None:
        """It stands no more."""
        self.last_at = None
        self._window = INITIAL_WINDOW
