"""One way to answer a call, what it needs, and what it is expected to take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Place = Literal["cloud", "device", "split"]
RAW = "raw"
"""The codec that changes nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a call is computed and how its tensors travel; `tail` is the model that ends a split."""

    place: Place
    codec: str = RAW
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a plan needs, before the link has its say: bytes, and seconds of encoding, device and service.

    `device_sure_s` is the device's time at the 95th percentile.
    """

    up_bytes: float = 0.0
    down_bytes: float = 0.0
    encode_s: float = 0.0
    device_s: float = 0.0
    device_sure_s: float = 0.0
    service_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Expected seconds at the median and at the 95th percentile, bytes sent and energy. `network_s` is part of p50."""

    p50_s: float
    p95_s: float
    up_bytes: float
    joules: float
    network_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Option:
    """A plan with its accuracy relative to the whole model on raw inputs (None where nobody measured it)."""

    plan: Plan
    accuracy: float | None
    costs: Costs
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen among which options; `explored` where it was for the sake of learning."""

    option: Option
    options: tuple[Option, ...] = field(default=())
    explored: bool = False
    in_time: bool = True
