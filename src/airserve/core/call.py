"""A call on its way through the house, and its reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True, slots=True)
class VariantAsked:
    """What a call asks of the variant that answers it: to be the one of that `name`, to be at least so accurate."""

    name: str | None = None
    min_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One inference request, decoded and authenticated.

    `inputs` are views of the request body where the wire format allows it; `rows` is their first axis where the
    model batches, else 1. `deadline_ns` is on the clock of `time.monotonic_ns`. `bytes_in` is the body's size. `asked`
    is None where any variant will do.
    """

    id: str
    model: str
    inputs: Tensors
    rows: int
    deadline_ns: int
    tenant_id: str = ""
    key_id: str = ""
    project_id: str = ""
    bytes_in: int = 0
    asked: VariantAsked | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, in nanoseconds, and the rows of the batch that it ran in, 0 where none ran."""

    queue_ns: int = 0
    compute_ns: int = 0
    batch_rows: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """The outputs of one call, from the version that ran.

    `variant` and its `accuracy`, as the manifest says, are there where several variants are served.
    """

    model: str
    version: str
    outputs: Tensors
    timings: Timings = field(default_factory=Timings)
    variant: str = ""
    accuracy: float | None = None
