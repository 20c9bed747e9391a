"""What was measured in a cell of the oracle, kept in `.cache/link/oracle` so that a run can go on where one ended."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from airserve.client.link.pessimism import quantile
from benchmarks.link.cells import CACHE
from benchmarks.link.oracle_client import Played, Task

WITHIN = 0.10
EQUAL_MS = 1.0


class Measured(msgspec.Struct, frozen=True):
    """One client in one cell, warm: mean, median and 95th percentile of its calls in ms, and its plans by share."""

    task: Task
    calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    plans: str


class Cell(msgspec.Struct, frozen=True):
    """What was measured over one link for one model; the fixed plans with the least mean first."""

    link: str
    model: str
    fixed: tuple[Measured, ...]
    adapting: Measured

    @property
    def best(self) -> Measured:
        """The fixed plan of the least mean."""
        return self.fixed[0]

    @property
    def gap(self) -> float:
        """How much longer the adapting client's mean is, as a part of the best one's; below 0 where shorter."""
        return self.adapting.mean_ms / self.best.mean_ms - 1

    @property
    def is_within(self) -> bool:
        """Whether the gap is a tenth at most; a millisecond is no gap."""
        return self.gap <= WITHIN or self.adapting.mean_ms <= self.best.mean_ms + EQUAL_MS


def warmed(calls: Sequence[Played], warm_s: float) -> list[Played]:
    """The calls that began `warm_s` seconds after the start or later, or the last where there is none."""
    return [each for each in calls if each.t >= warm_s] or list(calls[-1:])


def measured(task: Task, calls: Sequence[Played]) -> Measured:
    """The figures of these calls."""
    times = [each.ms for each in calls]
    taken = Counter(each.place if each.place == "device" else f"{each.codec} h{each.http}" for each in calls)
    plans = ", ".join(f"{plan} {count / len(calls):.0%}" for plan, count in taken.most_common(3))
    return Measured(task, len(calls), fmean(times), quantile(times, 0.5), quantile(times, 0.95), plans)


def cell(link: str, model: str, found: Sequence[Measured]) -> Cell:
    """The cell of what was measured, in any order."""
    (adapting,) = [each for each in found if not each.task.place]
    fixed = sorted((each for each in found if each.task.place), key=lambda each: each.mean_ms)
    return Cell(link, model, tuple(fixed), adapting)


def kept(link: str, model: str, settings: str) -> Cell | None:
    """The cell as it was measured before, with the same settings."""
    file = _file(link, model, settings)
    return msgspec.json.decode(file.read_bytes(), type=Cell) if file.exists() else None


def keep(found: Cell, settings: str) -> None:
    """For another run."""
    file = _file(found.link, found.model, settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(found))


def _file(link: str, model: str, settings: str) -> Path:
    name = hashlib.sha256(f"{link}\n{model}\n{settings}".encode()).hexdigest()[:16]
    return CACHE / "oracle" / f"{name}.json"
