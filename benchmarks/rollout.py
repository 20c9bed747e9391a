"""What a bad version does before its guards take it back, how fast a good one comes through, and what copies cost.

The model tells digits apart. The bad version has the same weights and takes each picture for its mirror image, as after
a careless export; the good one takes it as it is. Sixty-four tenants call all the time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop
from sklearn.datasets import load_digits

from airserve.accounts import create_key, create_tenant
from airserve.cli.training import train_to_package
from airserve.models.catalog import Catalog
from airserve.models.rollout.guards import parse_guards
from airserve.models.rollout.rollouts import Plan, Rollout, newest_rollout, start_rollout, stop_rollout
from airserve.server.installation import load_pepper, open_database
from airserve.server.settings import load_settings
from airserve.serving.rollout.status import status_of
from airserve.storage import Database
from benchmarks import report
from benchmarks.load import Measurement, http1_request, measure_http1, median
from benchmarks.planted import MIRRORED, reordered
from benchmarks.service import Service, airserve

MODEL = "digits"
BAD, GOOD = 2, 3
TENANTS, CONNECTIONS = 64, 8
RUNS, STEP_SECONDS = 4, 4.0
GUARDS = "error<0.5%, agreement>98%"
ROUNDS, SECONDS = 3, 3.0
_NEVER_NS = 10**6 * 10**9


@dataclass
class Place:
    """A service of three versions, its database, and a key for each tenant."""

    service: Service
    database: Database
    requests: list[bytes]


@dataclass
class Seen:
    """What the tenants got: (monotonic seconds, version) of each answer, and the status of each call that failed."""

    answers: list[tuple[float, int]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def of(self, version: int) -> list[float]:
        """When each answer of a version came."""
        return [at for at, by in self.answers if by == version]


@dataclass(frozen=True, slots=True)
class Run:
    """One rollout of the bad version. `span_ms` is from its first answer to its last, `compared` until the verdict."""

    bad: int
    calls: int
    failed: int
    span_ms: float
    compared: int


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder, _place(Path(folder)) as place:
        shown = {
            "5 % of the tenants, no shadow": [_bad(place, 5.0, shadow=0) for _ in range(RUNS)],
            "25 % of the tenants, no shadow": [_bad(place, 25.0, shadow=0) for _ in range(RUNS)],
            "shadow first": [_bad(place, 25.0, shadow=100) for _ in range(RUNS)],
        }
        costs = _costs(place)
        good = _good(place)
    _publish(shown, costs, good)


@contextmanager
def _place(folder: Path) -> Iterator[Place]:
    package = folder / "original"
    train_to_package("sklearn:digits", package, name=MODEL)
    keys: list[str] = []

    def prepare(state: Path) -> None:
        settings = load_settings(state)
        database = open_database(settings)
        catalog = Catalog(database, state / "store")
        catalog.publish(package)
        for version, order in {BAD: MIRRORED, GOOD: range(64)}.items():
            catalog.publish(reordered(package, folder / f"version-{version}", order), alias=None)
        pepper = load_pepper(settings, database)
        for number in range(TENANTS):
            create_tenant(database, f"tenant-{number}", now_ns=1)
            keys.append(create_key(database, pepper, now_ns=2, tenant=f"tenant-{number}")[0])
        opened.append(database)

    opened: list[Database] = []
    with airserve([], prepare) as service:
        pictures = load_digits().data.astype(np.float32)
        requests = [_request(service, keys[number % TENANTS], row) for number, row in enumerate(pictures)]
        yield Place(service, opened[0], requests)
        opened[0].close()


def _request(service: Service, key: str, row: np.ndarray[Any, Any]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, row.size], "data": row.tolist()}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"{service.http_url}/v2/models/{MODEL}/infer"
    return http1_request(url, headers, json.dumps({"inputs": [tensor]}).encode())


@contextmanager
def _load(place: Place) -> Iterator[Seen]:
    """All tenants call, over `CONNECTIONS` connections, each as soon as it has its answer."""
    seen, stop = Seen(), threading.Event()
    thread = threading.Thread(target=lambda: uvloop.run(_call(place, seen, stop)))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


async def _call(place: Place, seen: Seen, stop: threading.Event) -> None:
    await asyncio.gather(*(_connection(place, seen, stop, first) for first in range(CONNECTIONS)))


async def _connection(place: Place, seen: Seen, stop: threading.Event, first: int) -> None:
    parts = urlsplit(place.service.http_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    number = first
    while not stop.is_set():
        writer.write(place.requests[number % len(place.requests)])
        number += CONNECTIONS
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        status = int(head[9:12])
        if status == 200:
            seen.answers.append((time.monotonic(), int(json.loads(body)["model_version"])))
        else:
            seen.failed.append(status)
    writer.close()


def _bad(place: Place, percent: float, *, shadow: int) -> Run:
    """Roll the bad version out, for one step of `STEP_SECONDS`, whatever becomes of it."""
    plan = Plan((percent, 100.0), _NEVER_NS, parse_guards(GUARDS), shadow)
    with _load(place) as seen:
        time.sleep(0.5)
        began = time.monotonic()
        begun = start_rollout(place.database, MODEL, BAD, plan)
        time.sleep(STEP_SECONDS)
    ended = newest_rollout(place.database, MODEL)
    if ended.state != "rolled_back":
        stop_rollout(place.database, MODEL)
    time.sleep(1.5)
    times = seen.of(BAD)
    status = status_of(place.database, begun if shadow else ended, time.time_ns())
    (agreement,) = [each for each in status.guards if each.guard.startswith("agreement")]
    return Run(
        bad=len(times),
        calls=sum(at >= began for at, _ in seen.answers),
        failed=len(seen.failed),
        span_ms=1e3 * (max(times) - min(times)) if times else 0.0,
        compared=agreement.count if ended.state == "rolled_back" else -1,
    )


def _good(place: Place) -> Rollout:
    """The good version, with every guard but for time, as fast as the guards let it."""
    plan = Plan((5.0, 25.0, 50.0, 100.0), 10**9, parse_guards(GUARDS), 100)
    with _load(place) as seen:
        start_rollout(place.database, MODEL, GOOD, plan)
        give_up = time.monotonic() + 60
        while (found := newest_rollout(place.database, MODEL)).running and time.monotonic() < give_up:
            time.sleep(0.05)
    if seen.failed:
        raise RuntimeError(f"{len(seen.failed)} calls failed")
    return found


def _costs(place: Place) -> dict[str, Measurement]:
    """Calls of the old version, without a rollout and while they are copied; the two take turns."""
    rounds: dict[str, list[Measurement]] = {"no rollout": [], "copies are compared": []}
    plan = Plan((5.0, 100.0), _NEVER_NS, parse_guards(GUARDS), 10**6)
    for _ in range(ROUNDS):
        for name, cells in rounds.items():
            if name != "no rollout":
                start_rollout(place.database, MODEL, GOOD, plan)
                time.sleep(1.0)
            # The first copies of a stage are made as fast as there is time for them; what lasts is what is measured.
            _measured(place, 4.0)
            cells.append(_measured(place, SECONDS))
            if name != "no rollout":
                stop_rollout(place.database, MODEL)
                time.sleep(2.0)
    return {name: median(cells) for name, cells in rounds.items()}


def _measured(place: Place, seconds: float) -> Measurement:
    service = place.service
    return measure_http1(
        service.http_url, place.requests[0], connections=4, seconds=seconds, server_pid=service.pid, warm_up=0.5
    )


def _publish(shown: dict[str, list[Run]], costs: dict[str, Measurement], good: Rollout) -> None:
    rows = [
        (
            how,
            ", ".join(str(run.bad) for run in runs),
            f"{100 * max(run.bad / run.calls for run in runs):.2f} %",
            ", ".join(report.number(run.span_ms) for run in runs),
            ", ".join(str(run.compared) for run in runs),
            str(sum(run.failed for run in runs)),
        )
        for how, runs in shown.items()
    ]
    bad = report.Table(
        "A bad version",
        ("how", "calls that it answered", "most of the step's", "for ms", "compared", "failed calls"),
        rows,
        (
            f"{RUNS} rollouts each, {TENANTS} tenants, {CONNECTIONS} connections; guards {GUARDS}. The step is "
            f"{STEP_SECONDS:.0f} s long; unguarded, the version would have answered its share of the tenants all the "
            "time. In the shadow it answers copies alone.",
        ),
    )
    cost = report.Table(
        "What copies cost the calls that are copied",
        ("", "calls/s", "p50 ms", "p99 ms", "server CPU µs"),
        [
            (
                name,
                report.number(cell.calls_per_s),
                report.number(cell.p50_ms),
                report.number(cell.p99_ms),
                report.number(cell.server_us),
            )
            for name, cell in costs.items()
        ],
        (
            f"One tenant, 4 connections, the median of {ROUNDS} rounds in turn of {SECONDS:.0f} s, after 4 s in which "
            "the first copies of the stage were made.",
        ),
    )
    ended_ns = good.ended_ns or good.started_ns
    through = report.Table(
        "A good version",
        ("steps", "state", "seconds"),
        [
            (
                ", ".join(f"{step:g} %" for step in good.steps),
                good.state,
                report.number((ended_ns - good.started_ns) / 1e9),
            )
        ],
        ("Each step holds for a second at least; what it takes beyond is what the guards need to be sure.",),
    )
    without, withs = costs["no rollout"], costs["copies are compared"]
    unshadowed = [run for how, runs in shown.items() if "no shadow" in how for run in runs]
    goals = [
        report.Goal("most of a step's calls that a bad version answered, %",
                    100 * max(run.bad / run.calls for run in unshadowed), 2, at_most=True),
        report.Goal("calls that it answered after a shadow", max(run.bad for run in shown["shadow first"]), 0,
                    at_most=True),
        report.Goal("failed calls", sum(run.failed for runs in shown.values() for run in runs), 0, at_most=True),
        report.Goal("calls/s while copies are compared, of those without", withs.calls_per_s / without.calls_per_s,
                    0.95),
    ]  # fmt: skip
    report.publish("rollout", "Rollouts", [bad, through, cost], goals, [])


if __name__ == "__main__":
    main()
