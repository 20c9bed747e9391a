"""Learning-rate schedules: the rate α at step or epoch t, counted from 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from airserve.nn.errors import TrainingError

Per = Literal["step", "epoch"]


class Schedule(Protocol):
    """`per` says what t counts."""

    @property
    def per(self) -> Per: ...  # noqa: D102

    def rate(self, t: int) -> float:
        """α at t."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """α = `start`, always."""

    start: float
    per: Per = "step"

    def rate(self, t: int) -> float:
        """The same at every t."""
        return self.start


@dataclass(frozen=True, slots=True)
class Cosine:
    """From `start` to `end` over `total` along half a cosine (Loshchilov and Hutter, ICLR 2017, eq. 5)."""

    start: float
    total: int
    end: float = 0.0
    per: Per = "step"

    def rate(self, t: int) -> float:
        """end + (start − end)·(1 + cos(π·t/total)) / 2."""
        done = min(1.0, t / max(1, self.total))
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The dynamic rate: from α = `start`, at each t α ← α·ρ + β·(1 − ρ), 0 ≤ ρ < 1.

    It runs towards β, quickly at first: t applications of the rule give α = β + (start − β)·ρᵗ, which is computed
    here, so that the rate at t does not depend on how t was reached.
    """

    start: float
    rho: float
    beta: float
    per: Per = "step"

    def __post_init__(self) -> None:
        if not 0 <= self.rho < 1:
            raise TrainingError(f"ρ of the dynamic rate lies from 0 to below 1, not at {self.rho}")

    def rate(self, t: int) -> float:
        """β + (start − β)·ρᵗ."""
        return float(self.beta + (self.start - self.beta) * self.rho**t)
