"""What came of a call, and of making ready for calls."""

from __future__ import annotations

from dataclasses import dataclass

from airserve.client.exchange import Timings
from airserve.client.link.answer import Alternative
from airserve.client.link.plan import Choice, Option, Place, Plan
from airserve.core.call import Tensors


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer and where it comes from; `variant` is there where the service has several."""

    outputs: Tensors
    plan: Plan
    accuracy: float | None
    seconds: float
    timings: Timings | None = None
    replayed: bool = False
    transport: str = ""
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` has made ready: the places that can answer, and what the device takes, milliseconds."""

    places: tuple[Place, ...]
    device_ms: float | None
    bundle_bytes: int


def alternative(option: Option, choice: Choice, outcome: Outcome) -> Alternative:
    """One option as it is explained to the caller, with what it took where it is the one that answered."""
    answered = option.plan == outcome.plan
    return Alternative(
        place=option.plan.place,
        codec=option.plan.codec,
        tail=option.plan.tail,
        accuracy=option.accuracy,
        predicted_ms=option.prediction.p50_s * 1000,
        predicted_p95_ms=option.prediction.p95_s * 1000,
        up_bytes=round(option.prediction.up_bytes),
        joules=option.prediction.joules,
        chosen=option.plan == choice.option.plan,
        actual_ms=outcome.seconds * 1000 if answered else None,
    )
