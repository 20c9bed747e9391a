"""Run one batch on a worker thread: stack, compute, cut apart, meter. No asyncio in here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from airserve.core.call import Reply, Tensors, Timings
from airserve.core.errors import (
    AirserveError,
    CancelledError,
    DeadlineExceededError,
    ModelFailedError,
    ModelLostError,
)
from airserve.engines import Model
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal
from airserve.serving.meter import usage_event
from airserve.serving.queue import Batch
from airserve.serving.sealed import settled
from airserve.serving.ticket import Ticket


@dataclass(slots=True)
class Ran:
    """What became of each call of a batch, in its order, and how long each stage took.

    `compute_ns` is None where the batch failed as a whole. `charged` is in nano-units, by currency.
    """

    results: list[Reply | AirserveError] = field(default_factory=list)
    compute_ns: int | None = None
    input_ns: int = 0
    output_ns: int = 0
    charged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers: a loaded model, and what its replies say of it. `variant` is empty where only one is served."""

    model: Model
    name: str
    version: int
    variant: str = ""
    accuracy: float | None = None


def run_batch(by: Answering, batch: Batch[Ticket], started_ns: int, journal: Journal) -> Ran:
    """Compute and record the calls of `batch`; every usage event is in the journal when this returns.

    A batch that fails is run again call by call, so that one bad input fails alone; one whose process was lost is not,
    since the same input may cost the next process too. If usage cannot be recorded no reply leaves.
    """
    tickets = batch.calls
    ran = Ran()
    try:
        outputs, ran.input_ns, ran.compute_ns = _timed(by.model, [ticket.call.inputs for ticket in tickets], batch.rows)
        cut_ns = time.monotonic_ns()
        ran.results = _replies(by, tickets, outputs, batch.rows, started_ns, ran.compute_ns)
        ran.output_ns = time.monotonic_ns() - cut_ns
    except ModelLostError as error:
        ran.results = [error for _ in tickets]
    except Exception as error:
        if len(tickets) == 1:
            ran.results = [_as_failure(error)]
        else:
            ran.results = [_run_alone(by, ticket, started_ns) for ticket in tickets]
    now_ns = time.monotonic_ns()
    events: list[UsageEvent] = []
    for index, ticket in enumerate(tickets):
        result, event = _settle(ticket, settled(ticket, ran.results[index]), by.version, now_ns)
        ran.results[index] = result
        events.append(event)
    try:
        position = journal.append(events)
    except AirserveError as error:
        ran.results = [error for _ in tickets]
        return ran
    for ticket, event in zip(tickets, events, strict=True):
        if event.amount_nano:
            ran.charged[event.currency] = ran.charged.get(event.currency, 0) + event.amount_nano
        if ticket.admission is not None:
            ticket.admission.settle(event, position)
    return ran


def _timed(model: Model, inputs: Sequence[Tensors], rows: int) -> tuple[Tensors, int, int]:
    """The outputs, and the nanoseconds that stacking and computing took."""
    stack = time.monotonic_ns()
    stacked = inputs[0] if len(inputs) == 1 else {
        name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]
    }  # fmt: skip
    start = time.monotonic_ns()
    outputs = model.run(stacked)
    took_ns = time.monotonic_ns() - start
    if len(inputs) > 1:
        for name, array in outputs.items():
            if not array.shape or array.shape[0] != rows:
                raise ModelFailedError(f"output '{name}' has shape {list(array.shape)} for a batch of {rows} rows")
    return outputs, start - stack, max(1, took_ns)


def _replies(
    by: Answering, tickets: Sequence[Ticket], outputs: Tensors, rows: int, started_ns: int, compute_ns: int
) -> list[Reply | AirserveError]:
    name, version, variant, accuracy = by.name, str(by.version), by.variant, by.accuracy
    if len(tickets) == 1:
        timings = Timings(started_ns - tickets[0].enqueued_ns, compute_ns, rows)
        return [Reply(name, version, outputs, timings, variant, accuracy)]
    replies: list[Reply | AirserveError] = []
    start = 0
    for ticket in tickets:
        end = start + ticket.rows
        cut = {output: array[start:end] for output, array in outputs.items()}
        timings = Timings(started_ns - ticket.enqueued_ns, compute_ns, rows)
        replies.append(Reply(name, version, cut, timings, variant, accuracy))
        start = end
    return replies


def _run_alone(by: Answering, ticket: Ticket, started_ns: int) -> Reply | AirserveError:
    try:
        outputs, _, compute_ns = _timed(by.model, [ticket.call.inputs], ticket.rows)
    except ModelLostError as error:
        # The calls after this one need its successor, and do not pay for the time until it is there.
        if error.replaced is not None:
            error.replaced.wait()
        return error
    except Exception as error:
        return _as_failure(error)
    return _replies(by, [ticket], outputs, ticket.rows, started_ns, compute_ns)[0]


def _settle(
    ticket: Ticket, result: Reply | AirserveError, version: int, now_ns: int
) -> tuple[Reply | AirserveError, UsageEvent]:
    if isinstance(result, AirserveError):
        return result, usage_event(ticket, version, Outcome.FAILED)
    if ticket.cancelled:
        return CancelledError("the client has gone"), usage_event(ticket, version, Outcome.CANCELLED)
    if now_ns > ticket.deadline_ns:
        late = DeadlineExceededError("Request timeout expired: the answer came too late and is not charged")
        return late, usage_event(ticket, version, Outcome.LATE)
    share_ns = result.timings.compute_ns * ticket.rows // result.timings.batch_rows
    return result, usage_event(ticket, version, Outcome.OK, compute_ns=share_ns, reply=result)


def _as_failure(error: Exception) -> AirserveError:
    if isinstance(error, AirserveError):
        return error
    return ModelFailedError(f"the model failed on this input: {type(error).__name__}")
