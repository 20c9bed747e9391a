"""How a body crosses a link: flights of a growing window first (slow start), then at the link's rate.

Source: RFC 5681 (slow start) and RFC 6928 (an initial window of ten segments).
"""

from __future__ import annotations

from dataclasses import dataclass

SEGMENT_BYTES = 1384
"""The payload of a packet on mobile links, whose tunnels take their part of 1500 bytes."""

INITIAL_WINDOW = 10 * SEGMENT_BYTES
"""What a new connection sends before it hears from the other side, bytes."""


@dataclass(frozen=True, slots=True)
class Flights:
    """`rounds` round trips spent waiting for a window to open, and the `rest` in bytes that the rate alone bounds."""

    rounds: int
    rest: float


def flights(size: float, window: float, rtt_s: float, rate: float) -> Flights:
    """How `size` bytes leave through a congestion window of `window` bytes; `rate` in bytes a second.

    A window that fills the link (rate · round trip) costs no waiting, and neither does the last flight.
    """
    rounds, sent = 0, 0.0
    while window < rate * rtt_s and size - sent > window:
        sent += window
        rounds += 1
        window *= 2
    return Flights(rounds, size - sent)


def transfer_s(size: float, window: float, rtt_s: float, rate: float) -> float:
    """Seconds from the first byte's departure until the last one has left; without the way itself."""
    found = flights(size, window, rtt_s, rate)
    return found.rounds * rtt_s + found.rest / rate
