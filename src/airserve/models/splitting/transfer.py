"""How long bytes take on a link: the rate, the round trip, and TCP's slow start on a connection that stood idle."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_FLIGHT_BYTES = 13_840
"""The initial window of 10 segments (RFC 6928) of 1,384 bytes, as they are in a mobile network."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """`rate_bps` bit/s from the device, `rtt_s` seconds there and back."""

    rate_bps: float
    rtt_s: float


def upload_s(size: float, link: Uplink) -> float:
    """Seconds until the last of `size` bytes has arrived, on a warm connection whose window is the initial one.

    The window doubles each round trip until it fills the link; until then the sender waits for the rest of the round
    trip after each window. What fits in the first flight takes half a round trip and its own bits.
    """
    window, waited, left = float(FIRST_FLIGHT_BYTES), 0.0, size
    while left > window and window * 8 / link.rate_bps < link.rtt_s:
        left -= window
        waited += link.rtt_s
        window *= 2
    return waited + left * 8 / link.rate_bps + link.rtt_s / 2


def call_s(size: float, link: Uplink) -> float:
    """`upload_s`, and the way back of an answer that fits in one packet."""
    return upload_s(size, link) + link.rtt_s / 2
