"""A call that was admitted: what waits in the queue, runs in a batch and ends in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from airserve.core.call import Call, Reply, Tensors
from airserve.metering.prices import Price
from airserve.serving.admission import Admission

_WAY_BACK = 10


@dataclass(slots=True, eq=False)
class Ticket:
    """`price` and `admitted_ns` (UTC) are pinned here once; `group` is equal for calls that may share a batch.

    `admission` is what limits and budgets have set aside; `priority` and `share` are those of the tenant's plan.
    `allowed` has a bit for each variant that may answer.
    """

    call: Call
    price: Price
    admitted_ns: int
    enqueued_ns: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Reply]
    group: Hashable
    admission: Admission | None = None
    priority: int = 0
    share: int = 1
    allowed: int = 1
    tenant_id: str = field(init=False)
    rows: int = field(init=False)
    deadline_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self.tenant_id = self.call.tenant_id
        self.rows = self.call.rows
        self.deadline_ns = self.call.deadline_ns

    @property
    def due_ns(self) -> int:
        """When its answer should be ready: a tenth of its time is kept for the way back."""
        return self.deadline_ns - (self.deadline_ns - self.enqueued_ns) // _WAY_BACK

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.cancelled()


def group_of(inputs: Tensors) -> Hashable:
    """Rows of calls with the same group can be stacked: all axes but the first are equal."""
    if len(inputs) == 1:
        (array,) = inputs.values()
        return array.shape[1:]
    return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
