"""What is particular to a kind of model: how its variants are tried, judged and timed.

Models that turn tensors into tensors are one family (`tensor_family.py`), those that generate text another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from airserve.core.call import Tensors


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`value` in the unit of `metric`, higher is better, with the ends of its 95 % confidence interval over `rows`.

    `loss` is what is lost against the original, 0.01 for 1 %, with the ends of its interval: by pairs, so it is
    narrower than the difference of two intervals would be. A variant that is better than the original has a negative
    one.
    """

    metric: str
    value: float
    low: float
    high: float
    rows: int
    loss: float
    loss_low: float
    loss_high: float


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round of timing in a fresh process, with `threads` threads a run.

    `latencies_ms` are of one row alone; `rows_per_s` by the rows of a batch; `memory_bytes` is what the process grew by
    when the model was loaded and had run; `energy_mj` (millijoules a row) where the machine tells it.
    """

    threads: int
    latencies_ms: list[float]
    rows_per_s: dict[int, float]
    memory_bytes: int
    energy_mj: float | None = None


class Family(Protocol):
    """Tries, judges and times variants of one original, by the file of their weights."""

    suffix: str

    def check(self, file: Path) -> None:
        """Load it, run it, hold its answers' shapes against the signature. Raises `AirserveError`."""
        ...

    def judge(self, file: Path) -> Tensors:
        """What its accuracy is computed from: numbers by name, the first axis the rows of the measured sample.

        They are kept, and given back to `accuracy`. Raises `AirserveError`.
        """
        ...

    def accuracy(self, exact: Tensors, found: Tensors) -> Accuracy:
        """Of what `judge` gave of a variant, `exact` being that of the original; also of the original itself."""
        ...

    def time(self, file: Path) -> Round:
        """One round, in a process of its own. Raises `AirserveError`."""
        ...
