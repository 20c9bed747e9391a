"""Whether a call may begin: limits and budgets, all asked first, then all taken or none. The hot path asks no database.

`Admissions` holds the state of every limit and budget of this process; the state is keyed by tenant, project and key,
so it outlives the snapshots of the directory and changes of plans. Credit and shared limits come from the treasurer
(`server/treasurer.py`), which works on `purses` and `buckets` under `lock` and says `supplied` when it has been round.
A call that finds too little waits for that, and is refused once it is known that there is no more.

What was taken is in an `Admission`. Every way that a call can end lets go of it: `settle` with its usage event where
that was recorded, else `release`; what comes second changes nothing. It is let go of before anything else is decided.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable

from airserve.accounts import Principal
from airserve.core.errors import BudgetExhaustedError, RateLimitedError
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Position
from airserve.metering.leases import Window, bounds
from airserve.serving.bounds import Most
from airserve.serving.bucket import Bucket
from airserve.serving.gcra import Rate
from airserve.serving.purse import Purse
from airserve.serving.standing import (
    KEY_CALLS,
    BudgetLine,
    Limit,
    LimitKind,
    Standing,
    TenantCalls,
    budget_lines,
    quotas,
)

LONGEST_WAIT_NS = 1_500_000_000
"""How long a call waits for credit that other nodes may hold."""
MOST_KEPT = 50_000
"""Buckets, purses and standings each: what is idle gives way beyond that."""
_CONCURRENCY_PAUSE_S = 1.0

_ids = itertools.count(1)


class Admission:
    """What one call holds. `admitted_ns` is UTC, stamped once; `cap_nano` is the most it may cost, 0 for no bound."""

    __slots__ = ("_admissions", "_over", "_purses", "_refused", "_standing", "admitted_ns", "cap_nano", "id")

    def __init__(
        self, admissions: Admissions, standing: Standing, purses: list[Purse], admitted_ns: int, cap_nano: int
    ) -> None:
        self.id = next(_ids)
        self.admitted_ns = admitted_ns
        self.cap_nano = cap_nano
        self._admissions = admissions
        self._standing = standing
        self._purses = purses
        self._over = self._refused = False

    def settle(self, event: UsageEvent, position: Position) -> None:
        """The call has ended as `event` says, which is in the journal up to `position`."""
        if event.outcome is Outcome.REFUSED:
            self.release(refused=True)
        elif not self._over:
            self._over = True
            self._admissions.over.append((self, event, position))

    def release(self, *, refused: bool = False) -> None:
        """Nothing was recorded to pay for; one that was `refused` does not count as a call either."""
        if not self._over:
            self._over, self._refused = True, refused
            self._admissions.over.append((self, None, None))

    def end(self, event: UsageEvent | None, position: Position | None, now_ns: int) -> None:
        """Let go of what was taken, as `settle` or `release` has asked. The lock is held."""
        standing, id_ = self._standing, self.id
        if event is None or position is None:
            self._undo()
        else:
            for _, bucket in standing.of_tokens:
                bucket.finish(id_, event.input_tokens + event.output_tokens, now_ns)
            for _, bucket in standing.of_bytes:
                bucket.finish(id_, event.bytes_in + event.bytes_out, now_ns)
            for purse in self._purses:
                purse.settle(id_, event.amount_nano, position)
        standing.calls.open.discard(id_)

    def _undo(self) -> None:
        standing = self._standing
        if self._refused:
            for _, bucket in standing.of_calls:
                bucket.give_back(1)
        for _, bucket in (*standing.of_tokens, *standing.of_bytes):
            bucket.release(self.id)
        for purse in self._purses:
            purse.release(self.id)


class Admissions:
    """All limits and budgets of this process. Thread-safe; `lock` is held for microseconds.

    `wake` asks the treasurer to go round now. `stamp` gives the moment of an admission, UTC nanoseconds, and refuses
    where usage cannot be recorded: `Journal.admit`.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None, *, stamp: Callable[[], int] = time.time_ns) -> None:
        self.lock = threading.Lock()
        self.wake = wake
        self.stamp = stamp
        self.nodes = 1
        """How many processes serve the same tenants, this one included."""
        self.buckets: dict[tuple[str, str, str], Bucket] = {}
        self.purses: dict[Window, Purse] = {}
        self.warned = 0
        """Calls that were admitted although a budget that only warns was used up."""
        self.over: deque[tuple[Admission, UsageEvent | None, Position | None]] = deque()
        """Calls that have ended and still hold what they took."""
        self._standings: dict[str, Standing] = {}
        self._tenants: dict[str, TenantCalls] = {}
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def standing(self, principal: Principal) -> Standing | None:
        """What limits the calls of a key; None for nothing."""
        found = self._standings.get(principal.key_id)
        if found is None or found.account is not principal.account:
            found = self._make_standing(principal)
        return None if found.empty else found

    async def admit(self, standing: Standing, most: Most, deadline_ns: int) -> Admission:
        """Take what a call of at most `most` needs. Raises `BudgetExhaustedError` or `RateLimitedError`."""
        with self.lock:
            admission = self._try(standing, most, time.monotonic_ns(), [], last=False)
        return admission or await self._wait(standing, most, deadline_ns)

    async def _wait(self, standing: Standing, most: Most, deadline_ns: int) -> Admission:
        """The same, once the treasurer has been round."""
        give_up_ns = min(time.monotonic_ns() + LONGEST_WAIT_NS, deadline_ns)
        waiting_as = 0
        asked: list[Purse | Bucket] = []
        try:
            while True:
                with self.lock:
                    now_ns = time.monotonic_ns()
                    short: list[tuple[Purse | Bucket, int]] = []
                    admission = self._try(standing, most, now_ns, short, last=now_ns >= give_up_ns)
                    if admission is not None:
                        return admission
                    waiting_as = waiting_as or next(_ids)
                    for lacking, amount in short:
                        lacking.wanted[waiting_as] = amount
                        asked.append(lacking)
                    loop = asyncio.get_running_loop()
                    future: asyncio.Future[None] = loop.create_future()
                    self._waiting.append((loop, future))
                self.wake()
                await asyncio.wait({future}, timeout=max(0.001, (give_up_ns - now_ns) / 1e9))
        finally:
            if asked:
                with self.lock:
                    for each in asked:
                        each.wanted.pop(waiting_as, None)

    def let_go(self) -> None:
        """Take back what calls held that have ended. The lock is held.

        The threads that end calls only note it: one that waited here for an event loop, or made one wait, would cost
        more than all of the rest.
        """
        over = self.over
        if over:
            now_ns = time.monotonic_ns()
            while over:
                admission, event, position = over.popleft()
                admission.end(event, position, now_ns)

    def supplied(self) -> None:
        """The treasurer has been round: whoever waits looks again."""
        with self.lock:
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:
                # The loop has closed, and its calls with it.
                continue

    def _try(
        self, standing: Standing, most: Most, now_ns: int, short: list[tuple[Purse | Bucket, int]], *, last: bool
    ) -> Admission | None:
        """An admission, or None and in `short` what is too low. Nothing is taken before all was asked. Lock held."""
        self.let_go()
        admitted_ns = self.stamp()
        nano, tokens, size = most
        purses: list[Purse] = []
        cap_nano = 0
        for line in standing.budgets:
            purse = self._purse(line, admitted_ns)
            purses.append(purse)
            if line.strict:
                cap_nano = nano
            if purse.limit_nano is not None and purse.available_nano < nano:
                if last or purse.is_hopeless(nano, now_ns):
                    raise _exhausted(line)
                short.append((purse, nano))
        if standing.concurrency is not None:
            self._check_concurrency(standing, standing.concurrency)
        # Loops, since nearly every call would make these lists for nothing.
        for limit in standing.of_calls:
            if not limit.bucket.fits(1, now_ns):
                short.append(_lacking(limit, 1, now_ns, last=last))  # noqa: PERF401
        for limit in standing.of_tokens:
            if not limit.bucket.fits(tokens, now_ns):
                short.append(_lacking(limit, tokens, now_ns, last=last))  # noqa: PERF401
        for limit in standing.of_bytes:
            if not limit.bucket.fits(size, now_ns):
                short.append(_lacking(limit, size, now_ns, last=last))  # noqa: PERF401
        if short:
            return None
        admission = Admission(self, standing, purses, admitted_ns, cap_nano)
        id_ = admission.id
        for _, bucket in standing.of_calls:
            bucket.spend_one(now_ns)
        if tokens:
            for _, bucket in standing.of_tokens:
                bucket.reserve(id_, tokens)
        for _, bucket in standing.of_bytes:
            bucket.reserve(id_, size)
        for purse in purses:
            purse.hold(id_, nano)
        if standing.warns:
            self.warned += any(purse.passed for purse in purses)
        standing.calls.open.add(id_)
        return admission

    def _check_concurrency(self, standing: Standing, limit: int) -> None:
        # Each of several processes lets its share through, without asking the others.
        if len(standing.calls.open) >= max(min(1, limit), limit // self.nodes):
            raise RateLimitedError(
                f"the plan's limit of {limit} calls at a time is reached; come back when one has ended",
                retry_after=_CONCURRENCY_PAUSE_S,
            )

    def _purse(self, line: BudgetLine, at_ns: int) -> Purse:
        """The purse of the period that holds `at_ns`. The lock is held."""
        purse = line.purse
        if purse is None or purse.closed or not purse.window.start_ns <= at_ns < purse.ends_ns:
            start_ns, ends_ns = bounds(line.period, at_ns)
            window = Window(line.scope, line.scope_id, line.period, start_ns)
            purse = self.purses.get(window)
            if purse is None:
                purse = self.purses[window] = Purse(window, ends_ns)
            line.purse = purse
        # Two keys of a tenant may have been seen before and after a budget was changed: the latest call decides.
        purse.limit_nano, purse.soft_nano = line.limit_nano, line.soft_nano
        return purse

    def passed(self, standing: Standing) -> list[BudgetLine]:
        """The budgets that only warn and are used up."""
        now_ns = time.time_ns()
        with self.lock:
            self.let_go()
            return [
                line for line in standing.budgets if line.soft_nano is not None and self._purse(line, now_ns).passed
            ]

    def _make_standing(self, principal: Principal) -> Standing:
        account, tenant_id = principal.account, principal.tenant_id or ""
        with self.lock:
            if max(len(self._standings), len(self.buckets), len(self._tenants)) >= MOST_KEPT:
                self._drop_idle()
            found = quotas(account)
            limits = tuple(self._limit(kind, quota, principal) for kind, quota in found if quota > 0)
            calls = self._tenants.get(tenant_id)
            if calls is None:
                calls = self._tenants[tenant_id] = TenantCalls()
            # A limit of nothing lets no call through.
            nothing = any(quota <= 0 for _, quota in found)
            standing = Standing(
                account=account,
                tenant_id=tenant_id,
                limits=limits,
                concurrency=0 if nothing else account.terms.limits.concurrency,
                calls=calls,
                budgets=budget_lines(account, principal),
            )
            self._standings[principal.key_id] = standing
            return standing

    def _limit(self, kind: LimitKind, quota: int, principal: Principal) -> Limit:
        scope, scope_id = ("key", principal.key_id) if kind is KEY_CALLS else ("tenant", principal.tenant_id or "")
        rate = Rate(quota, kind.period_ns)
        bucket = self.buckets.get((scope, scope_id, kind.name))
        if bucket is None:
            bucket = self.buckets[scope, scope_id, kind.name] = Bucket(scope, scope_id, kind.name, rate)
            if self.nodes > 1:
                bucket.share()
        bucket.set_rate(rate)
        return Limit(kind, bucket)

    def _drop_idle(self) -> None:
        """A limit that has drained is as if it had never been asked for. The lock is held."""
        now_ns = time.monotonic_ns()
        self._standings.clear()
        self._tenants = {id_: calls for id_, calls in self._tenants.items() if calls.open}
        self.buckets = {
            key: each for key, each in self.buckets.items() if each.shared or each.reserved or each.tat_ns > now_ns
        }


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _lacking(limit: Limit, units: int, now_ns: int, *, last: bool) -> tuple[Purse | Bucket, int]:
    """What a limit without room for `units` needs first. Raises where that cannot be, or is not waited for."""
    bucket = limit.bucket
    if last or not bucket.shared or bucket.next_ns > now_ns:
        raise _limited(limit, bucket.wait_ns(units, now_ns))
    return bucket, min(units, bucket.rate.quota)


def _exhausted(line: BudgetLine) -> BudgetExhaustedError:
    until = {"day": "until tomorrow (UTC)", "month": "until next month (UTC)", "total": "until it is raised"}
    of = "account" if line.scope == "tenant" else line.scope
    return BudgetExhaustedError(
        f"the budget of this {of} does not cover the most that this call may cost; it is used up or set aside for "
        f"running calls {until[line.period]}; ask for less (max_tokens, a shorter deadline), or have it raised"
    )


def _limited(limit: Limit, wait_ns: int) -> RateLimitedError:
    wait_s = wait_ns / 1e9
    return RateLimitedError(
        f"the plan's limit of {limit.bucket.rate.quota} {limit.kind.sentence} is reached; come back in {wait_s:.3f} s",
        retry_after=wait_s,
    )
