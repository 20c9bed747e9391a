"""A call on its way through the house, and its reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(slots=True)
class Call:
    """One inference request, decoded and admitted.

    `inputs` are views of the request body where the wire format allows it. `deadline_ns` is on the clock of
    `time.monotonic_ns`; `outputs` names the outputs that the client wants, None meaning all.
    """

    id: str
    model: str
    version: str
    inputs: Tensors
    rows: int
    deadline_ns: int
    outputs: tuple[str, ...] | None = None
    tenant_id: str = ""
    key_id: str = ""
    price_id: int = 0
    bytes_in: int = 0
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, in nanoseconds, and the rows of the batch that it ran in."""

    queue_ns: int = 0
    compute_ns: int = 0
    batch_rows: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """The outputs of one call, from the version that ran."""

    model: str
    version: str
    outputs: Tensors
    timings: Timings = field(default_factory=Timings)
