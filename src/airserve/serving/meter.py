"""One usage event per call, in the journal before the reply leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airserve.core.call import Call, Reply
from airserve.core.generation import TokenCounts
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.prices import Price, amount_nano
from airserve.serving.admission import Admission
from airserve.serving.ticket import Ticket

_NO_TOKENS = TokenCounts()


class Admitted(Protocol):
    """What was pinned when a call was admitted, of tensors or of text; `admitted_ns` is UTC."""

    call: Call
    price: Price
    admitted_ns: int
    admission: Admission | None


@dataclass(slots=True)
class Answered:
    """A call that never waited: its answer was there before it came."""

    call: Call
    price: Price
    admitted_ns: int
    admission: Admission | None


def event_of_reply(answered: Answered, version: int, reply: Reply) -> UsageEvent:
    """What a call used that was answered from memory: bytes, and no time."""
    bytes_out = sum(output.nbytes for output in reply.outputs.values())
    amount = amount_nano(answered.price, 0, size_bytes=answered.call.bytes_in + bytes_out)
    return event_of(answered, version, Outcome.OK, bytes_out=bytes_out, compute_ns=0, amount_nano=amount)


def usage_event(
    ticket: Ticket, version: int, outcome: Outcome, *, compute_ns: int = 0, reply: Reply | None = None
) -> UsageEvent:
    """What the call of `ticket` used, at the price pinned at admission.

    Only an answered call costs; one that was refused, late, cancelled or failed is recorded at zero.
    """
    bytes_out = sum(output.nbytes for output in reply.outputs.values()) if reply else 0
    amount = 0
    if outcome is Outcome.OK:
        amount = amount_nano(ticket.price, compute_ns, size_bytes=ticket.call.bytes_in + bytes_out)
    return event_of(
        ticket,
        version,
        outcome,
        bytes_out=bytes_out,
        compute_ns=compute_ns,
        amount_nano=amount,
    )


def event_of(
    ticket: Admitted,
    version: int,
    outcome: Outcome,
    *,
    bytes_out: int,
    compute_ns: int,
    amount_nano: int,
    tokens: TokenCounts = _NO_TOKENS,
) -> UsageEvent:
    """The event of an admitted call that ended so, and cost `amount_nano`, or what a strict budget had set aside."""
    call, price = ticket.call, ticket.price
    cap_nano = 0 if ticket.admission is None else ticket.admission.cap_nano
    if cap_nano:
        amount_nano = min(amount_nano, cap_nano)
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
        bytes_out=bytes_out,
        compute_ns=compute_ns,
        amount_nano=amount_nano,
        currency=price.currency,
        admitted_ns=ticket.admitted_ns,
        input_tokens=tokens.input,
        cached_tokens=tokens.cached,
        output_tokens=tokens.output,
        project_id=call.project_id,
        cap_nano=cap_nano,
    )
