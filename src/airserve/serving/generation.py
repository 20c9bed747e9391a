"""One loaded version of a model that generates text: its queue, a thread for each slot, and the way of its pieces.

The threads take their calls themselves, so that a slot is never without work while any waits. One lock guards
everything here, held for microseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from airserve.core.call import Call, Reply, Timings
from airserve.core.errors import (
    AirserveError,
    CancelledError,
    DeadlineExceededError,
    ModelFailedError,
    OverloadedError,
)
from airserve.core.generation import Generation, Piece, TokenCounts
from airserve.engines.base import Generator
from airserve.metering.event import Outcome
from airserve.metering.journal import Journal
from airserve.metering.prices import Price
from airserve.models.catalog import DeploymentSpec
from airserve.serving.admission import Admission
from airserve.serving.bounds import asked_tokens
from airserve.serving.generation_ticket import Ended, GenerationTicket
from airserve.serving.listener import Listener
from airserve.serving.progress import Progress
from airserve.serving.queue import DeadlineQueue
from airserve.serving.shares import SharedTime
from airserve.serving.statistics import Statistics
from airserve.serving.stream import PieceStream, Stop

log = structlog.get_logger("airserve.serving")


class GenerationDeployment:
    """Serves one version. `generate` is called on event loops, the rest on threads.

    `tokens` counts what was used since loading, whether or not it was charged.
    """

    def __init__(self, spec: DeploymentSpec, generator: Generator, journal: Journal, *, queue_capacity: int) -> None:
        self.spec = spec
        self.generator = generator
        self.signature = spec.manifest.signature
        self.statistics = Statistics()
        self.tokens = TokenCounts()
        self.queue: DeadlineQueue[GenerationTicket] = DeadlineQueue(queue_capacity)
        self._journal = journal
        self._time = SharedTime()
        self._changed = threading.Condition()
        self._close_at_ns: int | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"{spec.model}-{spec.version}-{number}", daemon=True)
            for number in range(generator.slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> int:
        """How many slots are busy."""
        return self._time.running

    async def generate(
        self,
        call: Call,
        generation: Generation,
        price: Price,
        admission: Admission | None = None,
        *,
        priority: int = 0,
        share: int = 1,
        streamed: bool = True,
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the answer; raises the refusal, or the failure, that it met. Closing it frees the slot.

        `streamed` says that pieces leave the house before the last one has come: each is on record before.

        `admission` is let go of here, however the call ends.
        """
        now_ns = time.monotonic_ns()
        ticket = GenerationTicket(
            call=call,
            generation=generation,
            price=price,
            admitted_ns=self._journal.admit() if admission is None else admission.admitted_ns,
            enqueued_ns=now_ns,
            stream=PieceStream(asyncio.get_running_loop(), call.deadline_ns),
            admission=admission,
            priority=priority,
            share=share,
            streamed=streamed,
        )
        with self._changed:
            given_up = self._given_up() if self.queue.full else []
        self._drop(given_up)
        try:
            with self._changed:
                self._offer(ticket, now_ns)
                self._changed.notify()
        except AirserveError as error:
            self._record([Ended(ticket, Outcome.REFUSED, error)])
            raise
        try:
            async with aclosing(ticket.stream.read()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            ticket.stream.stop(Stop.GONE)

    @property
    def busy(self) -> bool:
        """Whether any call waits or runs."""
        return bool(len(self.queue) or self.running)

    def close(self, grace_s: float = 0.0) -> None:
        """Let every accepted generation finish, then end the threads. Blocks until then.

        For `grace_s` it still takes calls: those that found it just before it was closed.
        """
        with self._changed:
            self._close_at_ns = time.monotonic_ns() + int(grace_s * 1e9)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.generator.close()

    def _offer(self, ticket: GenerationTicket, now_ns: int) -> None:
        """Let a call wait, or refuse it early. The lock is held."""
        if self._close_at_ns is not None and now_ns >= self._close_at_ns:
            raise OverloadedError(
                f"Request for unknown model: '{self.spec.model}' version {self.spec.version} is not at ready state",
                retry_after=1.0,
            )
        if ticket.deadline_ns <= now_ns:
            raise DeadlineExceededError("the deadline had passed when the call arrived; give it more time")
        if self.queue.full:
            raise OverloadedError(
                f"Exceeds maximum queue size: {self.queue.capacity} calls wait already; come back later",
                retry_after=1.0,
            )
        self.queue.push(ticket)

    def _given_up(self) -> list[GenerationTicket]:
        """Take out of the queue what nobody waits for any more. The lock is held.

        Slots may be busy for minutes; until one is free, nobody else looks into the queue.
        """
        given_up = []
        for ticket in self.queue.drain():
            if ticket.stream.stopped is None:
                self.queue.push(ticket)
            else:
                given_up.append(ticket)
        return given_up

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            self._serve(ticket)

    def _next(self) -> GenerationTicket | None:
        """Wait for the next call; None when the deployment has closed."""
        while True:
            with self._changed:
                while not len(self.queue):
                    wait_s: float | None = None
                    if self._close_at_ns is not None:
                        wait_s = (self._close_at_ns - time.monotonic_ns()) / 1e9
                        if wait_s <= 0:
                            return None
                    self._changed.wait(wait_s)
                taken = self.queue.take(time.monotonic_ns(), 1, lambda rows: 0)
            self._drop([*taken.late, *taken.gone])
            if taken.calls:
                return taken.calls[0]

    def _drop(self, tickets: Sequence[GenerationTicket]) -> None:
        """Answer and record what waited too long, or for nobody."""
        ended = []
        for ticket in tickets:
            if ticket.cancelled:
                ended.append(Ended(ticket, Outcome.CANCELLED, CancelledError("the client has gone")))
            else:
                late = DeadlineExceededError("Request timeout expired: the call waited too long and is not charged")
                ended.append(Ended(ticket, Outcome.LATE, late))
        self._record(ended)
        for each in ended:
            each.ticket.stream.end(None, each.error)

    def _serve(self, ticket: GenerationTicket) -> None:
        started_ns = time.monotonic_ns()
        with self._changed:
            entered = self._time.enter(started_ns)
        listener = Listener(ticket.stream, ticket.deadline_ns, self._progress(ticket))
        failure: AirserveError | None = None
        try:
            self.generator.generate(ticket.generation, listener.hear)
        except AirserveError as met:
            failure = met
        except Exception as met:
            log.exception("a generation failed", model=self.spec.model, version=self.spec.version)
            failure = ModelFailedError(f"the model failed on this input: {type(met).__name__}")
        with self._changed:
            compute_ns = self._time.leave(entered, time.monotonic_ns())
        outcome, error = listener.outcome(failure)
        queue_ns = started_ns - ticket.enqueued_ns
        ended = Ended(ticket, outcome, error, listener.tokens, listener.text_bytes, queue_ns, compute_ns)
        # What was used is on record before the final piece leaves; if it cannot be, the piece does not.
        unrecorded = self._record([ended])
        error = error or unrecorded
        ticket.stream.end(None if error else listener.final, error)

    def _progress(self, ticket: GenerationTicket) -> Progress | None:
        if not ticket.streamed:
            return None
        return Progress(self._journal, ticket, self.spec.version, asked_tokens(ticket.generation))

    def _record(self, ended: Sequence[Ended]) -> AirserveError | None:
        """Bring calls into the journal and the counters; why they could not be recorded, if they could not."""
        if not ended:
            return None
        unrecorded: AirserveError | None = None
        events = [each.event(self.spec.version) for each in ended]
        try:
            position = self._journal.append(events)
        except AirserveError as failure:
            unrecorded = failure
        for each, event in zip(ended, events, strict=True):
            admission = each.ticket.admission
            if admission is not None and unrecorded is None:
                admission.settle(event, position)
            elif admission is not None:
                admission.release()
        now_ns = time.monotonic_ns()
        with self._changed:
            self.statistics.unrecorded += len(ended) if unrecorded else 0
            for each, event in zip(ended, events, strict=True):
                self._count(each, each.error or unrecorded, now_ns)
                if unrecorded is None:
                    self.statistics.charge(event.currency, event.amount_nano)
        return unrecorded

    def _count(self, ended: Ended, error: AirserveError | None, now_ns: int) -> None:
        ticket, used = ended.ticket, ended.tokens
        if used.output:
            self.statistics.batch(1, ended.compute_ns)
        reply = Reply(ticket.call.model, str(self.spec.version), {}, Timings(ended.queue_ns, ended.compute_ns))
        self.statistics.call(1, now_ns - ticket.enqueued_ns, error or reply)
        so_far = self.tokens
        self.tokens = TokenCounts(so_far.input + used.input, so_far.cached + used.cached, so_far.output + used.output)
