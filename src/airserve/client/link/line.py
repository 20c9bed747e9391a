"""Round-trip time and rate from transfers of several sizes: a robust regression that forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airserve.client.link.flights import Flights, flights

LEAST_RTT_S = 1e-4
MOST_RATE = 1.25e9
_PASSES = 3
_RELATIVE_NOISE = 0.2
_HUBER = 1.345
# How far from the guess things may be without many transfers that say so: 0.3 s, and down to 0.5 Mb/s.
_RTT_DEVIATION = 0.3
_SECONDS_A_BYTE_DEVIATION = 1.6e-5


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = rtt_s · round trips + bytes / rate; `rate` in bytes a second."""

    rtt_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer seen: `size` bytes in `seconds`, ended `at`, begun with a congestion window of `window` bytes.

    `trips` is how many round trips it took besides slow start: 1 for a request, 0 for the rest of an answer.
    """

    at: float
    size: float
    seconds: float
    window: float
    trips: float = 1.0


def expected_s(transfer: Transfer, line: Line) -> float:
    """What `line` says that the transfer takes."""
    found = _flights(transfer, line)
    return (transfer.trips + found.rounds) * line.rtt_s + found.rest / line.rate


def implied_rate(transfer: Transfer, line: Line) -> float | None:
    """The rate that this transfer alone speaks of, bytes a second; None where waiting was all that took time."""
    found = _flights(transfer, line)
    left = transfer.seconds - (transfer.trips + found.rounds) * line.rtt_s
    return found.rest / left if left > 0.1 * transfer.seconds else None


def fit(
    transfers: Sequence[Transfer], guess: Line, now: float, *, before: Line | None = None, half_life_s: float = 60.0
) -> Line:
    """The line through `transfers`, newer ones counting more; `guess` holds what they do not tell.

    `before` is the line without the newest of them, where there is one: less is left to be found then.

    Least squares of relative errors, with Huber's weights against those few that an outage or a lost packet made
    late (Huber, 1964). The flights of each depend on the line itself, hence some passes.
    """
    line = before or guess
    for number in range(0 if before is None else _PASSES - 1, _PASSES):
        rows = []
        for each in transfers:
            found = _flights(each, line)
            expected = max((each.trips + found.rounds) * line.rtt_s + found.rest / line.rate, 1e-4)
            size = max(each.seconds, 1e-4) if number == 0 else expected
            error = abs(each.seconds - expected) / (_RELATIVE_NOISE * size)
            weight = 0.5 ** ((now - each.at) / half_life_s) / (_RELATIVE_NOISE * size) ** 2
            if number and error > _HUBER:
                weight *= _HUBER / error
            rows.append((each.trips + found.rounds, found.rest, each.seconds, weight))
        line = _solve(rows, guess)
    return line


def _flights(transfer: Transfer, line: Line) -> Flights:
    return flights(transfer.size, transfer.window, line.rtt_s, line.rate)


def _solve(rows: list[tuple[float, float, float, float]], guess: Line) -> Line:
    """Weighted least squares in two unknowns, seconds a round trip and seconds a byte, pulled weakly to `guess`."""
    a11, a22, a12 = _RTT_DEVIATION**-2, _SECONDS_A_BYTE_DEVIATION**-2, 0.0
    b1, b2 = a11 * guess.rtt_s, a22 / guess.rate
    for trips, rest, seconds, weight in rows:
        a11 += weight * trips * trips
        a12 += weight * trips * rest
        a22 += weight * rest * rest
        b1 += weight * trips * seconds
        b2 += weight * rest * seconds
    determinant = a11 * a22 - a12 * a12
    rtt_s, a_byte = (b1 * a22 - b2 * a12) / determinant, (b2 * a11 - b1 * a12) / determinant
    if a_byte < 1 / MOST_RATE:
        a_byte = 1 / MOST_RATE
        rtt_s = (b1 - a12 * a_byte) / a11
    elif rtt_s < LEAST_RTT_S:
        rtt_s = LEAST_RTT_S
        a_byte = max((b2 - a12 * rtt_s) / a22, 1 / MOST_RATE)
    return Line(max(rtt_s, LEAST_RTT_S), 1 / a_byte)
