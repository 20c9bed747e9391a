"""One usage event per call, in the journal before the reply leaves."""

from __future__ import annotations

from airserve.core.call import Reply
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.prices import amount_nano
from airserve.serving.ticket import Ticket


def usage_event(
    ticket: Ticket, version: int, outcome: Outcome, *, compute_ns: int = 0, reply: Reply | None = None
) -> UsageEvent:
    """What the call of `ticket` used, at the price pinned at admission.

    Only an answered call costs; one that was refused, late, cancelled or failed is recorded at zero.
    """
    call, price = ticket.call, ticket.price
    return UsageEvent(
        id=call.id,
        tenant_id=call.tenant_id,
        key_id=call.key_id,
        model=call.model,
        version=version,
        price_id=price.id,
        outcome=outcome,
        rows=call.rows,
        bytes_in=call.bytes_in,
        bytes_out=sum(output.nbytes for output in reply.outputs.values()) if reply else 0,
        compute_ns=compute_ns,
        amount_nano=amount_nano(price, compute_ns) if outcome is Outcome.OK else 0,
        currency=price.currency,
        admitted_ns=ticket.admitted_ns,
    )
