"""From runs to the figures of the pages; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from airserve.lab.measures import DEADLINES_MS, Call, Run, after_outages
from benchmarks.link.clients.pace import DROPPED

ALL = "all of them"


@dataclass(frozen=True, slots=True)
class Row:
    """One client over one link, or over all of them; None where nothing was seen.

    `frames` came, `asked` of them were asked about (the others came while the client was waiting). Latencies are of
    answers; shares of `hits` and `answered` are of all frames; bytes are of a call, as the link counted them, headers,
    handshakes and repetitions included. `correct` and `on_device` are shares of the answers. `late_share` is of the
    packets that the emulator moved too late.
    """

    link: str
    client: str
    frames: int
    asked: int
    answered: float
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    hits: tuple[float, ...]
    bytes_up: float | None
    bytes_down: float | None
    correct: float | None
    on_device: float | None
    cpu_ms: float | None
    after_outage_p50_s: float | None
    after_outage_max_s: float | None
    late_share: float


def row(runs: Sequence[Run], link: str = "") -> Row:
    """The figures of runs of one client; under the name `link` if it is given, else that of the first run's link."""
    calls = [call for run in runs for call in run.calls]
    asked = [call for call in calls if call.place != DROPPED]
    good = [call for call in asked if call.ok]
    times = np.array([call.ms for call in good])
    waits = [wait for run in runs for wait in after_outages(run)]
    frames = len(calls) or 1
    return Row(
        link=link or runs[0].link,
        client=runs[0].client,
        frames=len(calls),
        asked=len(asked),
        answered=len(good) / frames,
        mean_ms=float(times.mean()) if len(times) else None,
        p50_ms=_percentile(times, 50),
        p95_ms=_percentile(times, 95),
        p99_ms=_percentile(times, 99),
        hits=tuple(float((times <= deadline).sum()) / frames for deadline in DEADLINES_MS),
        bytes_up=sum(run.link_bytes_up for run in runs) / len(asked) if asked else None,
        bytes_down=sum(run.link_bytes_down for run in runs) / len(asked) if asked else None,
        correct=_share(good, lambda call: bool(call.correct)),
        on_device=_share(good, lambda call: call.place == "device"),
        cpu_ms=float(np.mean([call.cpu_ms or 0.0 for call in asked])) if asked else None,
        after_outage_p50_s=float(np.median(waits)) if waits else None,
        after_outage_max_s=max(waits, default=None),
        late_share=max(run.late_share for run in runs),
    )


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each link and client, in the order in which they come."""
    cells = dict.fromkeys((run.link, run.client) for run in runs)
    return [row([run for run in runs if (run.link, run.client) == cell]) for cell in cells]


def together(runs: Sequence[Run]) -> list[Row]:
    """A row for each client that was on every link, over all the calls of all links."""
    links = {run.link for run in runs}
    found = []
    for client in dict.fromkeys(run.client for run in runs):
        own = [run for run in runs if run.client == client]
        if {run.link for run in own} == links:
            found.append(row(own, ALL))
    return found


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times less a client needs than another over the same link; None where one has no figure."""

    link: str
    client: str
    other: str
    bytes_up: float | None
    mean_ms: float | None
    p95_ms: float | None


def ratios(found: Sequence[Row], client: str, other: str) -> list[Ratio]:
    """For each link on which both were."""
    own = {each.link: each for each in found if each.client == client}
    theirs = {each.link: each for each in found if each.client == other}
    return [
        Ratio(
            link,
            client,
            other,
            _ratio(theirs[link].bytes_up, own[link].bytes_up),
            _ratio(theirs[link].mean_ms, own[link].mean_ms),
            _ratio(theirs[link].p95_ms, own[link].p95_ms),
        )
        for link in own
        if link in theirs
    ]


def _ratio(more: float | None, less: float | None) -> float | None:
    return more / less if more is not None and less else None


def _share(calls: Sequence[Call], holds: Callable[[Call], bool]) -> float | None:
    return sum(holds(call) for call in calls) / len(calls) if calls else None


def _percentile(times: np.ndarray, percent: float) -> float | None:
    return float(np.percentile(times, percent)) if len(times) else None
