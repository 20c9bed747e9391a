"""Round-trip time and rate from transfers of several sizes: a robust regression that forgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airserve.client.link.flights import Flights, flights

LEAST_RTT_S = 1e-4
MOST_RATE = 2.5e8
_PASSES = 4
_TOLD = 0.5
_RELATIVE_NOISE = 0.2
_HUBER = 1.345
# How far from a guess things may be without many transfers that say so: 0.3 s, and down to 0.5 Mb/s.
_RTT_DEVIATION = 0.3
UNKNOWN_DEVIATION = 1.6e-5
# Bodies that leave within this part of a round trip tell no rate: it may be anything above.
_UNSEEN = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = rtt_s · round trips + bytes / rate; `rate` in bytes a second.

    `deviation` is that of 1 / rate, seconds a byte.
    """

    rtt_s: float
    rate: float
    deviation: float = UNKNOWN_DEVIATION

    @property
    def tells_rate(self) -> bool:
        """Whether transfers have told the rate, and not the guess alone."""
        return self.deviation * self.rate < _TOLD


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

    `before` is the line without the newest of them, where that is to be followed and not sought anew.

    Least squares of relative errors, with Huber's weights against those few that an outage or a lost packet made
    late (Huber, 1964). The flights of each depend on the line itself, hence some passes. A long round trip with slow
    start can look like a short one with a slow link: both are tried, and the better fit is taken.
    """
    if before is not None:
        return _pass(transfers, before, guess, now, half_life_s, robust=True)
    found = []
    for start in (guess, Line(guess.rtt_s / 10, guess.rate / 10)):
        line = start
        for number in range(_PASSES):
            line = _pass(transfers, line, guess, now, half_life_s, robust=number > 0)
        found.append(line)
    return min(found, key=lambda line: _loss(transfers, line, now, half_life_s))


def _pass(
    transfers: Sequence[Transfer], line: Line, guess: Line, now: float, half_life_s: float, *, robust: bool
) -> Line:
    """A better line than `line`; unless `robust`, errors are relative to what was seen and not to what `line` says."""
    rows = []
    for each in transfers:
        found = _flights(each, line)
        expected = max((each.trips + found.rounds) * line.rtt_s + found.rest / line.rate, 1e-4)
        size = expected if robust else max(each.seconds, 1e-4)
        error = abs(each.seconds - expected) / (_RELATIVE_NOISE * size)
        weight = 0.5 ** ((now - each.at) / half_life_s) / (_RELATIVE_NOISE * size) ** 2
        if robust and error > _HUBER:
            weight *= _HUBER / error
        rows.append((each.trips + found.rounds, found.rest, each.seconds, weight))
    largest = max((each.size for each in transfers), default=0.0)
    return _solve(rows, guess, min(MOST_RATE, max(guess.rate, largest / (_UNSEEN * line.rtt_s))))


def _loss(transfers: Sequence[Transfer], line: Line, now: float, half_life_s: float) -> float:
    """How badly `line` fits: Huber's loss of the logarithms, so that a tenth and ten times are as wrong."""
    total = 0.0
    for each in transfers:
        ratio = max(each.seconds, 1e-6) / max(expected_s(each, line), 1e-6)
        error = abs(math.log(ratio)) / _RELATIVE_NOISE
        loss = error * error / 2 if error <= _HUBER else _HUBER * (error - _HUBER / 2)
        total += loss * 0.5 ** ((now - each.at) / half_life_s)
    return total


def _flights(transfer: Transfer, line: Line) -> Flights:
    return flights(transfer.size, transfer.window, line.rtt_s, line.rate)


def _solve(rows: list[tuple[float, float, float, float]], guess: Line, most_rate: float) -> Line:
    """Weighted least squares in two unknowns, seconds a round trip and seconds a byte, pulled weakly to `guess`."""
    a11, a22, a12 = _RTT_DEVIATION**-2, guess.deviation**-2, 0.0
    b1, b2 = a11 * guess.rtt_s, a22 / guess.rate
    for trips, rest, seconds, weight in rows:
        a11 += weight * trips * trips
        a12 += weight * trips * rest
        a22 += weight * rest * rest
        b1 += weight * trips * seconds
        b2 += weight * rest * seconds
    determinant = a11 * a22 - a12 * a12
    rtt_s, a_byte = (b1 * a22 - b2 * a12) / determinant, (b2 * a11 - b1 * a12) / determinant
    deviation = math.sqrt(a11 / determinant)
    if a_byte < 1 / most_rate:
        a_byte = 1 / most_rate
        rtt_s = (b1 - a12 * a_byte) / a11
    elif rtt_s < LEAST_RTT_S:
        rtt_s = LEAST_RTT_S
        a_byte = max((b2 - a12 * rtt_s) / a22, 1 / most_rate)
    return Line(max(rtt_s, LEAST_RTT_S), 1 / a_byte, deviation)
