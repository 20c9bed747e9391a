"""Any prefix of a journal, folded any number of times in any chunks, interrupted anywhere, gives the same ledger."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Durability, Journal
from airserve.metering.ledger import fold, ledger_id
from airserve.metering.postings import REVENUE, balance
from airserve.metering.segments import segments_of
from airserve.metering.unfinished import end_unfinished
from airserve.storage import tables
from airserve.storage.database import Database

outcomes = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.LATE, Outcome.FAILED, Outcome.PARTIAL, Outcome.PROGRESS])
calls = st.tuples(st.sampled_from(["ten_a", "ten_b"]), st.integers(0, 30).map(str), outcomes)


def event(tenant_id: str, call_id: str, outcome: Outcome, admitted_ns: int) -> UsageEvent:
    amount = 5 if outcome is Outcome.OK else 0
    return UsageEvent(call_id, tenant_id, "key", "digits", 1, 0, outcome, 1, 2, 3, 4, amount, "EUR", admitted_ns)


class LedgerMachine(RuleBasedStateMachine):
    """A node that appends, restarts and crashes; a ledger that is folded whenever it pleases; and the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "journal"
        self.db = Database.open(Path(self.place.name))
        self.clock = 0
        self.truth: dict[str, int] = {}
        self.folded: dict[str, int] = {}
        self.streams: dict[str, int] = {}
        self.journal = self.start()

    def start(self) -> Journal:
        return Journal.open(self.folder, "n", segment_bytes=400, durability=Durability.OS)

    @rule(batch=st.lists(calls, min_size=1, max_size=6))
    def append(self, batch: list[tuple[str, str, Outcome]]) -> None:
        events = []
        for tenant_id, call_id, outcome in batch:
            self.clock += 1
            events.append(event(tenant_id, call_id, outcome, self.clock))
            if outcome is Outcome.PROGRESS:
                self.streams[ledger_id(tenant_id, call_id, Outcome.PARTIAL, self.clock)] = self.clock
            else:
                self.truth.setdefault(ledger_id(tenant_id, call_id, outcome, self.clock), self.clock)
        self.journal.append(events)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.start()

    @rule(dies=st.booleans())
    def a_start_ends_the_streams_of_those_before(self, dies: bool) -> None:
        """And may die between that and its fold: the next one finds them ended."""
        self.restart()
        fold(self.db, self.folder)
        end_unfinished(self.db, self.journal, "n")
        self.truth |= self.streams
        self.streams.clear()
        if dies:
            self.restart()
        fold(self.db, self.folder)
        self.folded = dict(self.truth)
        assert end_unfinished(self.db, self.journal, "n") == 0

    @rule(batch=st.lists(calls, min_size=1, max_size=4), data=st.data())
    def crash_in_the_middle_of_a_write(self, batch: list[tuple[str, str, Outcome]], data: st.DataObject) -> None:
        """The batch was never acknowledged; a beginning of it is on the disk."""
        sizes = {segment: (self.folder / str(segment)).stat().st_size for segment in segments_of(self.folder)}
        self.journal.append([event(*call, self.clock) for call in batch])
        self.journal.close()
        last = segments_of(self.folder)[-1]
        path, before = self.folder / str(last), sizes.get(last, 0)
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(before, len(whole) - 1))])
        self.journal = self.start()

    @rule(chunk=st.integers(1, 9))
    def fold(self, chunk: int) -> None:
        result = fold(self.db, self.folder, chunk=chunk)
        assert result.inserted == len(self.truth) - len(self.folded)
        self.folded = dict(self.truth)

    @rule()
    def forget_how_far_the_fold_was(self) -> None:
        with self.db.write() as connection:
            connection.execute(sa.delete(tables.journal_marks))

    @rule(chunk=st.integers(1, 9))
    def two_fold_at_once(self, chunk: int) -> None:
        other = Database.open(Path(self.place.name))
        with ThreadPoolExecutor(2) as pool:
            for folding in [pool.submit(fold, each, self.folder, chunk=chunk) for each in (self.db, other)]:
                folding.result()
        other.close()
        self.folded = dict(self.truth)

    @rule()
    def a_mark_is_lost_and_all_is_read_again(self) -> None:
        with self.db.write(announce=False) as connection:
            connection.execute(sa.delete(tables.journal_marks))
        fold(self.db, self.folder)
        self.folded = dict(self.truth)

    @invariant()
    def each_call_that_costs_is_posted_once(self) -> None:
        entries, events = tables.ledger_entries.c, tables.usage_events.c
        windows = tables.budget_windows.c
        with self.db.read() as connection:
            posted = connection.execute(sa.select(entries.event_id, entries.amount_nano)).all()
            charged = connection.execute(sa.select(events.id, events.amount_nano).where(events.amount_nano > 0)).all()
            assert sorted(posted) == sorted(charged)
            assert -balance(connection, REVENUE, "EUR") == sum(nano for _, nano in charged)
            of_tenants = sa.select(windows.spent_nano).where(windows.scope == "tenant", windows.period == "total")
            assert sum(connection.scalars(of_tenants)) == sum(nano for _, nano in charged)

    @invariant()
    def the_ledger_holds_each_folded_call_once_from_its_first_record(self) -> None:
        events = tables.usage_events
        with self.db.read() as connection:
            rows: list[Any] = list(connection.execute(sa.select(events.c.id, events.c.admitted_ns)))
        assert len(rows) == len(self.folded)
        assert dict(map(tuple, rows)) == self.folded

    def teardown(self) -> None:
        self.journal.close()
        self.db.close()
        self.place.cleanup()


LedgerMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestAnyScheduleOfAppendsCrashesAndFoldsGivesTheSameLedger = LedgerMachine.TestCase
