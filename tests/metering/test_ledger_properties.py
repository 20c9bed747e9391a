"""Any prefix of a journal, folded any number of times in any chunks, interrupted anywhere, gives the same ledger."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Durability, Journal
from airserve.metering.ledger import fold, ledger_id
from airserve.metering.segments import segments_of
from airserve.storage import tables
from airserve.storage.database import Database

outcomes = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.LATE, Outcome.FAILED, Outcome.PARTIAL])
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
        self.journal = self.start()

    def start(self) -> Journal:
        return Journal.open(self.folder, "n", segment_bytes=400, durability=Durability.OS)

    @rule(batch=st.lists(calls, min_size=1, max_size=6))
    def append(self, batch: list[tuple[str, str, Outcome]]) -> None:
        events = []
        for tenant_id, call_id, outcome in batch:
            self.clock += 1
            events.append(event(tenant_id, call_id, outcome, self.clock))
            self.truth.setdefault(ledger_id(tenant_id, call_id, outcome, self.clock), self.clock)
        self.journal.append(events)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.start()

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


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAnyScheduleOfAppendsCrashesAndFoldsGivesTheSameLedger = LedgerMachine.TestCase
