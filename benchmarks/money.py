"""What gate, limits, budget and meter cost a call, without the server around them: real parts on one thread."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from airserve.accounts import create_key, create_tenant, load_directory
from airserve.accounts.account import UNLIMITED
from airserve.accounts.plans import insert_plan
from airserve.accounts.subscriptions import subscribe
from airserve.accounts.terms import Budget, BudgetMode, Limits, Terms
from airserve.core.call import Call, Reply, Timings
from airserve.metering.event import Outcome
from airserve.metering.journal import Journal
from airserve.metering.prices import Price
from airserve.server.calls import new_id
from airserve.server.limit_notes import headers_for
from airserve.server.treasurer import Treasurer
from airserve.serving import bounds
from airserve.serving.admission import Admissions
from airserve.serving.gate import Gate
from airserve.serving.meter import usage_event
from airserve.serving.ticket import Ticket
from airserve.storage import Database

PLENTY = 1_000_000_000
TERMS = Terms(
    limits=Limits(
        calls_per_minute=PLENTY, calls_per_day=PLENTY, tokens_per_minute=PLENTY, bytes_per_day=PLENTY * 1000,
        concurrency=PLENTY,
    ),
    budget=Budget(PLENTY * PLENTY, mode=BudgetMode.STRICT),
)  # fmt: skip
CALLS = 3_000
BATCH = 4
"""Calls of one batch, which share a write to the journal, as under load."""
ROUNDS = 5
_PRICE = Price(1, "tiny", 1_000, 1_000_000_000, "EUR", per_megabyte_nano=1_000)
_REPLY_BYTES = 40


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time of a call in µs: of a tenant without a plan, and of one with limits and a strict budget."""

    without_us: float
    with_us: float


def customers(database: Database, pepper: bytes) -> tuple[str, str]:
    """The keys of two new tenants: one without a plan, one with `TERMS`, which it never reaches."""
    keys = []
    for name in ("plain", "planned"):
        create_tenant(database, name, now_ns=time.time_ns())
        keys.append(create_key(database, pepper, now_ns=time.time_ns(), tenant=name)[0])
    with database.write() as connection:
        insert_plan(connection, "bench", "Benchmark", TERMS, now_ns=time.time_ns())
    subscribe(database, "planned", "bench", now_ns=time.time_ns())
    return keys[0], keys[1]


def measure() -> Cost:
    """The best of some rounds each, in turn."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        database = Database.open(Path(folder))
        journal = Journal.open(Path(folder) / "journal", "node0", durability="os")
        pepper = b"p" * 32
        keys = customers(database, pepper)
        gate, admissions = Gate(load_directory(database, pepper)), Admissions()
        treasurer = Treasurer(database, admissions, "node0", journal.epoch)
        treasurer.free(journal.epoch)
        treasurer.start()
        try:
            best = [float("inf")] * 2
            for _ in range(ROUNDS):
                for index, key in enumerate(keys):
                    best[index] = min(best[index], asyncio.run(_one_round(gate, admissions, journal, key)))
        finally:
            treasurer.stop()
            journal.close()
            database.close()
    return Cost(*best)


async def _one_round(gate: Gate, admissions: Admissions, journal: Journal, key: str) -> float:
    loop = asyncio.get_running_loop()
    x, y = np.zeros((1, 64), np.float32), np.zeros((1, 10), np.float32)
    # The first call waits for its credit.
    await _admit(gate, admissions, key, x)
    begin = time.thread_time_ns()
    for _ in range(CALLS // BATCH):
        tickets, standing = [], None
        for _ in range(BATCH):
            call, standing, admission = await _admit(gate, admissions, key, x)
            tickets.append(
                Ticket(call, _PRICE, time.time_ns() if admission is None else admission.admitted_ns, 0, loop,
                       loop.create_future(), None, admission)
            )  # fmt: skip
        reply = Reply("tiny", "1", {"y": y}, Timings())
        events = [usage_event(each, 1, Outcome.OK, compute_ns=20_000, reply=reply) for each in tickets]
        position = journal.append(events)
        for ticket, event in zip(tickets, events, strict=True):
            if ticket.admission is not None and standing is not None:
                ticket.admission.settle(event, position)
                headers_for(admissions, standing)
    return (time.thread_time_ns() - begin) / CALLS / 1e3


async def _admit(gate: Gate, admissions: Admissions, key: str, x: np.ndarray):  # type: ignore[no-untyped-def, type-arg]
    principal = gate.tenant(key, "tiny", "infer")
    call = Call(
        new_id(), "tiny", {"x": x}, 1, time.monotonic_ns() + 1_000_000_000, principal.tenant_id or "",
        principal.key_id, principal.project_id, 300,
    )  # fmt: skip
    standing = admissions.standing(principal)
    if standing is None:
        assert principal.account is UNLIMITED or not principal.account.budgets
        return call, None, None
    most = bounds.of_tensors(call, _REPLY_BYTES, _PRICE, time.monotonic_ns())
    return call, standing, await admissions.admit(standing, most, call.deadline_ns)


if __name__ == "__main__":
    print(measure())
