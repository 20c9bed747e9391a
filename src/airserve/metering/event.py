"""What is recorded of a call: one usage event, made once, never changed."""

from __future__ import annotations

import enum

import msgspec

from airserve.core.errors import InvalidInputError

INT64_MAX = (1 << 63) - 1
MAX_TEXT = 512
"""The most characters of all ids and names of an event together."""


class Outcome(enum.Enum):
    """How a call ended. Only `OK` and `PARTIAL` cost."""

    OK = "ok"
    REFUSED = "refused"
    LATE = "late"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PARTIAL = "partial"
    """A generation that ended early, after its first token: it costs the tokens that it used and nothing else."""
    PROGRESS = "progress"
    """No end: what a stream has used so far, on record before it leaves. The record of its end takes its place; where
    its process died before that, it becomes `PARTIAL` (`metering/unfinished.py`). The ledger never holds it."""


COSTS = (Outcome.OK, Outcome.PARTIAL)
ENDS = tuple(outcome for outcome in Outcome if outcome is not Outcome.PROGRESS)


class UsageEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call of one tenant, as it is written to the journal.

    `id` is the id of the call: a retry carries the same one, and is charged once. `admitted_ns` is UTC, stamped
    once at admission: it decides the day that is billed. `compute_ns` is the call's share of its batch.
    `amount_nano` is in 1e-9 of `currency`, rated with the price `price_id` that was pinned at admission; 0 for any
    outcome but `OK`, `PARTIAL` and `PROGRESS`. Tokens are those of generations, as the engine counted them;
    `cached_tokens` are part of `input_tokens`. `cap_nano` is what a strict budget had set aside for the call, the most
    it may cost; 0 where there is none. New fields go to the end and carry a default, so that old journals stay
    readable.
    """

    id: str
    tenant_id: str
    key_id: str
    model: str
    version: int
    price_id: int
    outcome: Outcome
    rows: int
    bytes_in: int
    bytes_out: int
    compute_ns: int
    amount_nano: int
    currency: str
    admitted_ns: int
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    project_id: str = ""
    cap_nano: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(UsageEvent)


def encode_event(event: UsageEvent) -> bytes:
    """The event as msgpack; refuses what the ledger could not take later, when it is too late to refuse."""
    # One test of the joined text: this runs for every call.
    text = event.id + event.tenant_id + event.project_id + event.key_id + event.model + event.currency
    if not event.id or not event.tenant_id or len(text) > MAX_TEXT or not text.isprintable():
        raise InvalidInputError(
            f"a call's id, tenant, key, model and currency are printable, at most {MAX_TEXT} characters together"
        )
    # Bit 63 of the union is set, or bits above it, as soon as one of them is negative or over int64.
    union = (
        event.version | event.price_id | event.rows | event.bytes_in
        | event.bytes_out | event.compute_ns | event.amount_nano | event.admitted_ns
        | event.input_tokens | event.cached_tokens | event.output_tokens | event.cap_nano
    )  # fmt: skip
    if union >> 63:
        raise InvalidInputError(f"a usage event holds counts from 0 to {INT64_MAX}, this one does not: {event}")
    if event.amount_nano and event.outcome not in (*COSTS, Outcome.PROGRESS):
        raise InvalidInputError(f"a call that ended '{event.outcome.value}' costs nothing, not {event.amount_nano}")
    return _encoder.encode(event)


def decode_event(payload: bytes) -> UsageEvent:
    """The inverse of `encode_event`; raises `msgspec.MsgspecError` where the payload is no event."""
    return _decoder.decode(payload)


def stamp_of(payload: bytes) -> int:
    """When the call of an encoded event was admitted; 0 where another version has written what this one cannot read."""
    try:
        return _decoder.decode(payload).admitted_ns
    except msgspec.MsgspecError:
        return 0
