"""From the calls of an experiment's runs to the figures of its table; pure functions of what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from airserve.lab.capacity import OPPORTUNITY_BYTES
from airserve.lab.emulation_log import BIN_S
from airserve.lab.experiment import Cut
from airserve.lab.link import Link, Opportunities, Timeline

DEADLINES_MS = (50, 100, 200)
LEAST_OUTAGE_S = 0.2


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `t` is seconds since the run began. See `call_lines` for the rest."""

    t: float
    ms: float
    ok: bool
    bytes_up: int | None = None
    bytes_down: int | None = None
    place: str | None = None
    codec: str | None = None
    correct: bool | None = None
    cpu_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One client on one link once. `link_bytes_*` are the emulator's counts of IP bytes; `cpu_s` the client's CPU time.

    `fault` says what went wrong with the client, if anything.
    """

    link: str
    client: str
    repeat: int
    seed: int
    lasted_s: float
    calls: tuple[Call, ...]
    cpu_s: float
    link_bytes_up: int
    link_bytes_down: int
    outages: tuple[tuple[float, float], ...] = ()
    rates_up_bps: tuple[float, ...] = ()
    late_share: float = 0.0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of the table, over all repeats of a client on a link; None where nothing was seen.

    Latencies are of answered calls; a deadline is hit by a call that was answered in time, out of all calls.
    `bytes_*` are of a call, `bytes_from` says whose count they are: the client's or the link's.
    """

    link: str
    client: str
    calls: int
    answered: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mean_ms: float | None
    hits: tuple[float | None, ...]
    bytes_up: float | None
    bytes_down: float | None
    bytes_from: str
    accuracy: float | None
    cpu_ms: float | None
    after_outage_p50_s: float | None
    after_outage_max_s: float | None
    outages: int
    device_share: float | None
    late_share: float


def figures(runs: Sequence[Run]) -> Figures:
    """The figures of runs of one client on one link."""
    calls = [call for run in runs for call in run.calls]
    waits = [wait for run in runs for wait in after_outages(run)]
    times = np.array([call.ms for call in calls if call.ok])
    counted = bool(calls) and all(call.bytes_up is not None for call in calls)
    judged = [call.correct for call in calls if call.correct is not None]
    many = len(calls) or None
    return Figures(
        link=runs[0].link,
        client=runs[0].client,
        calls=len(calls),
        answered=len(times) / many if many else None,
        p50_ms=_percentile(times, 50),
        p95_ms=_percentile(times, 95),
        p99_ms=_percentile(times, 99),
        mean_ms=float(times.mean()) if len(times) else None,
        hits=tuple(float((times <= deadline).sum()) / many if many else None for deadline in DEADLINES_MS),
        bytes_up=_per_call([call.bytes_up for call in calls], [run.link_bytes_up for run in runs], counted),
        bytes_down=_per_call([call.bytes_down for call in calls], [run.link_bytes_down for run in runs], counted),
        bytes_from="client" if counted else "link",
        accuracy=sum(judged) / len(judged) if judged else None,
        cpu_ms=_cpu_ms(runs, calls),
        after_outage_p50_s=float(np.median(waits)) if waits else None,
        after_outage_max_s=max(waits, default=None),
        outages=sum(len(run.outages) for run in runs),
        device_share=sum(call.place == "device" for call in calls) / many if many else None,
        late_share=max(run.late_share for run in runs),
    )


def outages(link: Link, lasted_s: float) -> tuple[tuple[float, float], ...]:
    """(start, end) in seconds of the stretches in which the uplink carries nothing for LEAST_OUTAGE_S or more."""
    edges = _silences(link)
    found = []
    for start, end in edges:
        if end - start >= LEAST_OUTAGE_S and end < lasted_s:
            found.append((start, end))
    return tuple(found)


def rates_bps(link: Link, lasted_s: float, cuts: Sequence[Cut] = ()) -> tuple[float, ...]:
    """bit/s that the uplink could carry in each tenth of a second of a run; 0 while the network was lost."""
    edges = np.arange(int(lasted_s / BIN_S) + 2) * BIN_S
    rates = np.diff(_bits_until(link, edges)) / BIN_S
    for cut in cuts:
        rates[(edges[:-1] >= cut.at - BIN_S / 2) & (edges[:-1] < cut.at + cut.seconds - BIN_S / 2)] = 0.0
    return tuple(rates.tolist())


def _bits_until(link: Link, times_s: np.ndarray) -> np.ndarray:
    """The bits that the uplink could have carried from 0 to each of these times."""
    capacity = link.up.capacity
    bits: np.ndarray
    if isinstance(capacity, Opportunities):
        rounds, rest = np.divmod(times_s * 1e3, capacity.times_ms[-1])
        packets = rounds * len(capacity.times_ms) + np.searchsorted(capacity.times_ms, rest, side="right")
        bits = packets * OPPORTUNITY_BYTES * 8
    else:
        bits = _timeline_bits(capacity, times_s)
    return bits


def _timeline_bits(capacity: Timeline, times_s: np.ndarray) -> np.ndarray:
    edges = np.array([*(segment.start_s for segment in capacity.segments), capacity.period_s])
    carried = np.diff(edges) * [segment.rate_bps for segment in capacity.segments]
    passed = np.concatenate(([0.0], np.cumsum(carried)))
    rounds, rest = np.divmod(times_s, capacity.period_s)
    bits: np.ndarray = rounds * passed[-1] + np.interp(rest, edges, passed)
    return bits


def after_outages(run: Run) -> list[float]:
    """For each outage, the seconds from its end to the next answer that came over the link."""
    ends = sorted(call.t + call.ms / 1e3 for call in run.calls if call.ok and call.place != "device")
    waits = []
    for _, over in run.outages:
        answer = next((end for end in ends if end > over), None)
        if answer is not None:
            waits.append(answer - over)
    return waits


def _silences(link: Link) -> list[tuple[float, float]]:
    """Stretches of one period without capacity, neighbours joined."""
    capacity = link.up.capacity
    if isinstance(capacity, Opportunities):
        times = [0.0, *(time_ms / 1e3 for time_ms in capacity.times_ms)]
        return [(a, b) for a, b in pairwise(times) if b - a >= LEAST_OUTAGE_S]
    joined: list[tuple[float, float]] = []
    for place, segment in enumerate(capacity.segments):
        last = place + 1 == len(capacity.segments)
        end = capacity.period_s if last else capacity.segments[place + 1].start_s
        if segment.rate_bps > 0:
            continue
        if joined and joined[-1][1] == segment.start_s:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((segment.start_s, end))
    return joined


def _cpu_ms(runs: Sequence[Run], calls: Sequence[Call]) -> float | None:
    """As the clients told, else of their whole processes, starting included."""
    told = [call.cpu_ms for call in calls if call.cpu_ms is not None]
    if told:
        return sum(told) / len(told)
    return sum(run.cpu_s for run in runs) * 1e3 / len(calls) if calls else None


def _percentile(times: np.ndarray, percent: float) -> float | None:
    return float(np.percentile(times, percent)) if len(times) else None


def _per_call(told: list[int | None], link_bytes: list[int], counted: bool) -> float | None:
    if not told:
        return None
    if counted:
        return sum(size or 0 for size in told) / len(told)
    return sum(link_bytes) / len(told)
