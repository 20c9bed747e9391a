"""What a sealed call came to: the worker says it beside the sealed reply, which is for the client alone."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np

from airserve.codecs.sealed_message import FLAT, TENSOR
from airserve.core.call import Reply
from airserve.core.errors import (
    AirserveError,
    InvalidInputError,
    ModelFailedError,
    OverloadedError,
    SealedClockError,
    SealedKeyError,
    SealedReplayError,
    UnsealError,
)
from airserve.engines.sealed import ANSWER
from airserve.engines.sealed_messages import How, SealedAnswer
from airserve.serving.ticket import Ticket

_REFUSED: dict[How, tuple[type[AirserveError], str]] = {
    "key": (SealedKeyError, "the model does not have the key of this sealed call (any more); fetch its key again"),
    "unseal": (UnsealError, FLAT),
    "clock": (SealedClockError, "the time inside the seal is more than 60 s from the service's; set your clock"),
    "replay": (SealedReplayError, "this sealed call was taken before, and is not taken again; seal the call anew"),
}


def settled(ticket: Ticket, reply: Reply | AirserveError) -> Reply | AirserveError:
    """The reply to a sealed call, or its refusal; any other reply as it is.

    Only now it is known how many rows the call has, so its ticket learns it here.
    """
    if isinstance(reply, AirserveError) or ANSWER not in reply.outputs:
        return reply
    answer: SealedAnswer = reply.outputs[ANSWER][0]
    sealed: bytes = reply.outputs[TENSOR][0]
    ticket.call = replace(ticket.call, rows=answer.rows)
    ticket.rows = answer.rows
    if answer.how == "answered":
        timings = replace(reply.timings, compute_ns=answer.compute_ns, batch_rows=answer.batch_rows)
        return replace(reply, outputs={TENSOR: np.frombuffer(sealed, np.uint8)}, timings=timings)
    if answer.how == "full":
        return OverloadedError("too many sealed calls in the last two minutes; come back", retry_after=5.0)
    if answer.how == "refused":
        return InvalidInputError(with_reason("the sealed call does not fit the model", sealed))
    if answer.how == "failed":
        return ModelFailedError(with_reason("the model failed on the sealed call", sealed))
    kind, sentence = _REFUSED[answer.how]
    return kind(sentence)


def with_reason(sentence: str, sealed: bytes) -> str:
    """A sentence with the reason beside it, which the client alone can open."""
    return f"{sentence}; sealed reason: {base64.b64encode(sealed).decode()}"
