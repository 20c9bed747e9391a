"""What a call gives: the outputs by name, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airserve.client.exchange import HttpResponse, Timings, variant_of
from airserve.client.link.plan import RAW, Place
from airserve.core.call import Array


@dataclass(frozen=True, slots=True)
class Alternative:
    """One plan that there was: what was predicted of it and, of the one that answered, what it took."""

    place: Place
    codec: str
    tail: str
    accuracy: float | None
    predicted_ms: float
    predicted_p95_ms: float
    up_bytes: int
    joules: float
    chosen: bool = False
    actual_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """How an answer came about; see `Answer`."""

    place: Place = "cloud"
    codec: str = RAW
    accuracy: float | None = 1.0
    model_accuracy: float | None = None
    variant: str | None = None
    replayed: bool = False
    late: bool = False
    elapsed_ms: float = 0.0
    transport: str = ""
    timings: Timings | None = None
    explanation: tuple[Alternative, ...] = field(default=())


def told_of(response: HttpResponse, timings: Timings | None) -> Told:
    """What the head of a plain answer says."""
    variant, accuracy = variant_of(response)
    return Told(accuracy=1.0 if accuracy is None else accuracy, variant=variant, timings=timings)


class Answer(dict[str, Array]):
    """The outputs by name, a dictionary of arrays.

    `place` is where they were computed ("cloud", "device", "split"), `codec` how the inputs travelled, `accuracy` what
    that costs relative to the whole model on raw inputs (1.0; None where nobody measured it), `model_accuracy` the
    whole model's own. Where the service has several variants, `variant` is the one that answered, and `accuracy` counts
    it: as the manifest says or, of a call that adapts to the link, relative to the most accurate one.
    `replayed` says that the service had answered an earlier attempt already, `late` that the
    deadline had passed. `elapsed_ms` is the caller's time, `timings` the service's. `explanation` holds the
    alternatives, where it was asked for.
    """

    def __init__(self, outputs: Mapping[str, Array], told: Told | None = None) -> None:
        super().__init__(outputs)
        told = told or Told()
        self.place: Place = told.place
        self.codec = told.codec
        self.accuracy = told.accuracy
        self.model_accuracy = told.model_accuracy
        self.variant = told.variant
        self.replayed = told.replayed
        self.late = told.late
        self.elapsed_ms = told.elapsed_ms
        self.transport = told.transport
        self.timings = told.timings
        self.explanation = told.explanation
