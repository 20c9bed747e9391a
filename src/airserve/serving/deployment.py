"""One loaded version of a model: its queue, its worker threads, and the way back to the event loops.

The front may run several event loops in threads of their own, so everything here is guarded by one lock, held
for microseconds. A worker takes its next batch itself the moment it is free; the loops only push and wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from airserve.core.call import Call, Reply, VariantAsked
from airserve.core.errors import (
    AirserveError,
    CancelledError,
    DeadlineExceededError,
    ModelLostError,
    OverloadedError,
)
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal
from airserve.metering.prices import Price
from airserve.models.catalog import DeploymentSpec
from airserve.serving.admission import Admission
from airserve.serving.allowance import allowed, best_of
from airserve.serving.bounds import bytes_a_row
from airserve.serving.meter import Answered, event_of_reply, usage_event
from airserve.serving.queue import Batch
from airserve.serving.run import Answering, run_batch
from airserve.serving.scheduler import Scheduler
from airserve.serving.statistics import Statistics
from airserve.serving.taps import Taps
from airserve.serving.ticket import Ticket, group_of
from airserve.serving.warmup import Warm

_PATIENCE = 10
"""An answer may wait one tenth as long as it has waited already."""


class Deployment:
    """Serves one version. `infer` is called on event loops, the rest on threads.

    `taps` are told of calls that were answered, on the workers' threads, once the replies have been delivered.
    """

    def __init__(
        self, spec: DeploymentSpec, warm: Warm, journal: Journal, *, queue_capacity: int, taps: Taps | None = None
    ) -> None:
        self.spec = spec
        self.warm = warm
        self.signature = spec.manifest.signature
        self.reply_bytes_a_row = bytes_a_row(self.signature)
        self.statistics = Statistics()
        self.taps = Taps() if taps is None else taps
        self.scheduler: Scheduler[Ticket] = Scheduler(
            capacity=queue_capacity,
            max_rows=warm.max_rows,
            workers=warm.workers,
            curve=warm.curve,
            others=[each.curve for each in warm.variants[1:]],
        )
        self.every_variant = (1 << len(warm.variants)) - 1
        self._answering = _answering(spec, warm)
        self._journal = journal
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle_workers = 0
        self._woken = 0
        self._close_at_ns: int | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"{spec.model}-{spec.version}-{number}", daemon=True)
            for number in range(warm.workers)
        ]
        for thread in self._threads:
            thread.start()

    async def infer(
        self,
        call: Call,
        price: Price,
        admission: Admission | None = None,
        *,
        priority: int = 0,
        share: int = 1,
        future: asyncio.Future[Reply] | None = None,
        allowed: int | None = None,
    ) -> Reply:
        """The reply to `call`; raises the refusal, or the failure, that it met.

        `allowed` is what `allowed_variants` said; every variant may answer without it.

        `admission` is let go of here, however the call ends. The reply arrives in `future` where the caller brings one;
        cancelled, it tells that nobody waits any more.
        """
        now_ns = time.monotonic_ns()
        loop = asyncio.get_running_loop()
        ticket = Ticket(
            call=call,
            price=price,
            admitted_ns=self._journal.admit() if admission is None else admission.admitted_ns,
            enqueued_ns=now_ns,
            loop=loop,
            future=loop.create_future() if future is None else future,
            group=group_of(call.inputs),
            admission=admission,
            priority=priority,
            share=share,
            allowed=self.every_variant if allowed is None else allowed,
        )
        try:
            with self._lock:
                self._refuse_if_closed(now_ns)
                self.scheduler.offer(ticket, now_ns)
                if self._idle_workers > self._woken:
                    # A worker that was woken runs a little later; calls that come meanwhile need not wake it again.
                    self._woken += 1
                    self._changed.notify()
        except AirserveError as error:
            self._end([ticket], [error], now_ns)
            self._record([usage_event(ticket, self.spec.version, Outcome.REFUSED)])
            if admission is not None:
                admission.release(refused=True)
            raise
        return await ticket.future

    def allowed_variants(self, asked: VariantAsked | None, floor: float | None) -> int:
        """A bit for each variant that may answer a call that asks so, of a tenant whose plan grants this accuracy.

        Raises `InvalidInputError` where there is none.
        """
        if asked is None and floor is None:
            return self.every_variant
        return allowed(self.spec.model, self.spec.manifest.served, asked, floor)

    def is_best(self, reply: Reply, allowed: int) -> bool:
        """Whether `reply` is of the most accurate variant that the call allowed."""
        return reply.variant == self._answering[best_of(allowed)].variant

    def answer_again(self, call: Call, price: Price, admission: Admission | None, reply: Reply) -> None:
        """Record and charge a call whose `reply` was there before: it computed nothing. May wait for the disk.

        `admission` is let go of. Raises `OverloadedError` where usage cannot be recorded: then nobody gets the reply.
        """
        began_ns = time.monotonic_ns()
        try:
            admitted_ns = self._journal.admit() if admission is None else admission.admitted_ns
            event = event_of_reply(Answered(call, price, admitted_ns, admission), self.spec.version, reply)
            position = self._journal.append([event])
            if admission is not None:
                admission.settle(event, position)
        finally:
            if admission is not None:
                # What was settled is not touched.
                admission.release()
        with self._lock:
            self.statistics.call(call.rows, time.monotonic_ns() - began_ns, reply)
            self.statistics.charge(event.currency, event.amount_nano)

    @property
    def busy(self) -> bool:
        """Whether any call waits or runs."""
        return bool(len(self.scheduler.queue) or self.scheduler.running)

    def close(self, grace_s: float = 0.0) -> None:
        """Let every accepted call finish, then end the threads. Blocks until then.

        For `grace_s` it still takes calls: those that found it just before it was closed.
        """
        with self._lock:
            self._close_at_ns = time.monotonic_ns() + int(grace_s * 1e9)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.warm.close()

    def _refuse_if_closed(self, now_ns: int) -> None:
        if self._close_at_ns is not None and now_ns >= self._close_at_ns:
            raise OverloadedError(
                f"Request for unknown model: '{self.spec.model}' version {self.spec.version} is not at ready state",
                retry_after=1.0,
            )

    def _work(self) -> None:
        while (taken := self._next_batch()) is not None:
            calls, results = self._run(*taken)
            if self._patient(calls) and (more := self._take_now()) is not None:
                more_calls, more_results = self._run(*more)
                calls, results = calls + more_calls, results + more_results
            _deliver(calls, results)
            if self.taps:
                self._tell_taps(calls, results)
            _await_replacement(results)

    def _run(self, batch: Batch[Ticket], started_ns: int) -> tuple[list[Ticket], list[Reply | AirserveError]]:
        """Run and record a batch: its calls with their results, not yet delivered."""
        self._drop(batch)
        if not batch.calls:
            return [], []
        try:
            ran = run_batch(self._answering[batch.variant], batch, started_ns, self._journal)
        finally:
            _let_go(batch.calls)
        now_ns = time.monotonic_ns()
        with self._lock:
            self.scheduler.finished(batch, now_ns, None if ran.compute_ns is None else now_ns - started_ns)
            self.statistics.batch(
                batch.rows, ran.compute_ns, calls=len(batch.calls), input_ns=ran.input_ns, output_ns=ran.output_ns
            )
            for currency, nano in ran.charged.items():
                self.statistics.charge(currency, nano)
        self._end(batch.calls, ran.results, now_ns)
        return batch.calls, ran.results

    def _patient(self, calls: Sequence[Ticket]) -> bool:
        """Whether answers may wait for one more batch: it adds at most a tenth to what each has waited already.

        Under a backlog of a slow model, waking the event loop for every single answer costs more than the answer:
        its code is out of the caches each time.
        """
        now_ns = time.monotonic_ns()
        run_ns = self.scheduler.run_ns
        return all(
            now_ns - call.enqueued_ns > _PATIENCE * run_ns and call.deadline_ns > now_ns + 2 * run_ns for call in calls
        )

    def _take_now(self) -> tuple[Batch[Ticket], int] | None:
        """The next batch if one should start at this moment."""
        with self._lock:
            now_ns = time.monotonic_ns()
            if not len(self.scheduler.queue) or self.scheduler.wait_until_ns(now_ns) > now_ns:
                return None
            return self.scheduler.start(now_ns), now_ns

    def _next_batch(self) -> tuple[Batch[Ticket], int] | None:
        """Wait for the next batch and when it should start; None when the deployment has closed."""
        scheduler = self.scheduler
        with self._lock:
            while True:
                now_ns = time.monotonic_ns()
                wait_s: float | None = None
                if len(scheduler.queue):
                    start_ns = scheduler.wait_until_ns(now_ns)
                    if start_ns <= now_ns:
                        return scheduler.start(now_ns), now_ns
                    wait_s = (start_ns - now_ns) / 1e9
                elif self._close_at_ns is not None:
                    if now_ns >= self._close_at_ns:
                        return None
                    wait_s = (self._close_at_ns - now_ns) / 1e9
                self._idle_workers += 1
                self._changed.wait(wait_s)
                self._idle_workers -= 1
                self._woken = max(0, self._woken - 1)

    def _tell_taps(self, calls: Sequence[Ticket], results: Sequence[Reply | AirserveError]) -> None:
        self.taps.offer(
            [(ticket.call, result) for ticket, result in zip(calls, results, strict=True) if isinstance(result, Reply)]
        )

    def _drop(self, batch: Batch[Ticket]) -> None:
        """Answer and record what came out of the queue too late, or for nobody."""
        if not batch.late and not batch.gone:
            return
        late = DeadlineExceededError("Request timeout expired: the call waited too long and is not charged")
        gone = CancelledError("the client has gone")
        tickets = [*batch.late, *batch.gone]
        results: list[Reply | AirserveError] = [*[late] * len(batch.late), *[gone] * len(batch.gone)]
        self._record([usage_event(ticket, self.spec.version, Outcome.LATE) for ticket in batch.late])
        self._record([usage_event(ticket, self.spec.version, Outcome.CANCELLED) for ticket in batch.gone])
        _let_go(tickets)
        self._end(tickets, results, time.monotonic_ns())
        _deliver(tickets, results)

    def _end(self, tickets: Sequence[Ticket], results: Sequence[Reply | AirserveError], now_ns: int) -> None:
        with self._lock:
            for ticket, result in zip(tickets, results, strict=True):
                self.statistics.call(ticket.rows, now_ns - ticket.enqueued_ns, result)

    def _record(self, events: list[UsageEvent]) -> None:
        # These cost nothing, so a journal that cannot be written must not turn a refusal into a failure.
        try:
            self._journal.append(events)
        except OverloadedError:
            self.statistics.unrecorded += len(events)


def _answering(spec: DeploymentSpec, warm: Warm) -> list[Answering]:
    """Who answers, by variant. Replies name the variant where there are several."""
    if len(warm.variants) == 1:
        return [Answering(warm.model, spec.model, spec.version)]
    return [Answering(each.model, spec.model, spec.version, each.name, each.accuracy) for each in warm.variants]


def _let_go(tickets: Sequence[Ticket]) -> None:
    """Nothing stays set aside for calls that have ended; what was settled is not touched."""
    for ticket in tickets:
        if ticket.admission is not None:
            ticket.admission.release()


def _await_replacement(results: Sequence[Reply | AirserveError]) -> None:
    """Take no batch while its process is being replaced: calls wait in the queue, where it costs them nothing."""
    for result in results:
        if isinstance(result, ModelLostError) and result.replaced is not None:
            result.replaced.wait()


def _deliver(tickets: Sequence[Ticket], results: Sequence[Reply | AirserveError]) -> None:
    """Wake each waiting loop once, with all that is for it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Reply], Reply | AirserveError]]] = {}
    for ticket, result in zip(tickets, results, strict=True):
        by_loop.setdefault(ticket.loop, []).append((ticket.future, result))
    for loop, answers in by_loop.items():
        loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[tuple[asyncio.Future[Reply], Reply | AirserveError]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, Reply):
            future.set_result(result)
        else:
            future.set_exception(result)
