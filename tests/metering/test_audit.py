"""The audit prints zero over sound books, and names what differs over any that were tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.metering.archive import prune
from airserve.metering.audit import Check, audit
from airserve.metering.journal_format import SegmentName
from airserve.metering.ledger import fold
from airserve.metering.postings import rebuild_balances
from airserve.metering.segments import segments_of
from airserve.storage import Database, tables
from tests.metering.books import END_NS, PERIOD, keep_books

NUMBERS = {f"I{number}" for number in range(2, 12)}
LONG_AGO_NS, FAR_NS = 1, 1 << 62


@pytest.fixture
def folder(database: Database, tmp_path: Path, make_event: Any) -> Path:
    keep_books(database, tmp_path / "journal", make_event)
    return tmp_path / "journal"


def details(checks: list[Check]) -> list[str]:
    return [f"{check.number} {detail}" for check in checks for detail in check.details]


def test_sound_books_differ_by_zero_in_every_check(database: Database, folder: Path) -> None:
    checks = audit(database, folder)
    assert details(checks) == []
    assert {check.number for check in checks} == NUMBERS
    compared = {check.number: check.compared for check in checks if check.compared}
    assert compared["I2"] == 47 and compared["I10"] == 41


def test_late_usage_is_billed_in_the_next_month_with_its_own_month_shown(database: Database, folder: Path) -> None:
    entries = tables.ledger_entries.c
    with database.read() as connection:
        late = connection.execute(sa.select(tables.ledger_entries).where(entries.event_id == "ten_a/late")).one()
        at_the_ends = sa.select(entries.service_period, sa.func.count()).where(entries.kind == "usage")
        by_month = dict(connection.execute(at_the_ends.group_by(entries.service_period)).all())
    assert (late.period, late.service_period) == ("2026-02", PERIOD)
    assert by_month == {PERIOD: 31, "2026-02": 10}


def test_what_was_archived_is_audited_and_what_was_deleted_is_said(database: Database, folder: Path) -> None:
    done = prune(database, folder, archive_before_ns=FAR_NS)
    assert done.archived >= 4 and len(segments_of(folder)) == 1
    assert prune(database, folder, archive_before_ns=FAR_NS).archived == 0
    checks = audit(database, folder)
    assert details(checks) == [] and not any(check.note for check in checks)
    assert fold(database, folder).inserted == 0
    assert prune(database, folder, archive_before_ns=FAR_NS, delete_before_ns=END_NS + 1).deleted == done.archived
    checks = audit(database, folder)
    assert details(checks) == []
    assert checks[0].note == "40 calls whose journal was deleted could not be compared"


def test_what_is_not_in_the_ledger_yet_or_too_young_is_not_archived(
    database: Database, tmp_path: Path, folder: Path
) -> None:
    assert prune(database, folder, archive_before_ns=LONG_AGO_NS).archived == 0
    other = Database.open(tmp_path / "other")
    assert prune(other, folder, archive_before_ns=FAR_NS).archived == 0
    other.close()


def unguarded(database: Database, *statements: str) -> None:
    """Change what cannot be changed, as somebody with the database file in their hands can."""
    with database.write() as connection:
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("statement", "number", "says"),
    [
        ("UPDATE usage_events SET amount_nano = amount_nano + 1 WHERE lsn = 3 AND epoch = 1", "I2", "has amount_nano"),
        ("UPDATE usage_events SET price_id = 0 WHERE lsn = 3 AND epoch = 1", "I10", "0 expected"),
        ("UPDATE usage_events SET tenant_id = 'ten_c' WHERE lsn = 3 AND epoch = 1", "I5", "usage of ten_c"),
        ("DELETE FROM usage_events WHERE lsn = 3 AND epoch = 1", "I2", "was recorded and is not in the ledger"),
        ("UPDATE usage_events SET lsn = 999 WHERE lsn = 3 AND epoch = 1", "I4", "is behind the mark"),
        ("UPDATE journal_marks SET lsn = lsn + 1 WHERE epoch = 1", "I2", "were read once and are not in the journal"),
        ("DELETE FROM journal_marks WHERE epoch = 1", "I4", "is behind the mark 0"),
        ("DELETE FROM ledger_entries WHERE kind = 'usage' AND event_id = 'ten_a/0-1'", "I5", "no entry found"),
        ("UPDATE ledger_entries SET amount_nano = 9 WHERE event_id = 'ten_a/0-1'", "I5", "has 9"),
        ("UPDATE ledger_entries SET service_period = '2025-12' WHERE event_id = 'ten_a/0-1'", "I5", "of 2025-12"),
        ("UPDATE ledger_balances SET debits_nano = debits_nano + 5 WHERE account_id = 1", "I5", "debits of account 1"),
        ("UPDATE ledger_entries SET period = '2026-01' WHERE event_id = 'ten_a/late'", "I9", "after it was closed"),
        ("UPDATE budget_windows SET spent_nano = spent_nano + 3 WHERE period = 'total'", "I6", "spent by"),
        ("UPDATE budget_windows SET leased_nano = 3 WHERE period = 'total'", "I6", "lent to nodes"),
    ],
)
def test_each_change_of_a_row_is_found_by_the_check_that_is_for_it(
    tmp_path: Path, make_event: Any, statement: str, number: str, says: str
) -> None:
    database, folder = Database.open(tmp_path / "state"), tmp_path / "journal"
    keep_books(database, folder, make_event)
    unguarded(database, statement)
    found = [detail for detail in details(audit(database, folder)) if detail.startswith(f"{number} ")]
    assert any(says in detail for detail in found), details(audit(database, folder))
    database.close()


def test_triggers_that_are_gone_are_noticed(database: Database, folder: Path) -> None:
    if database.dialect == "sqlite":
        unguarded(database)
    else:
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE ledger_entries DISABLE TRIGGER USER")
    assert any("keep ledger_entries append-only are not there" in detail for detail in details(audit(database, folder)))


def test_a_changed_missing_or_foreign_journal_is_found(database: Database, folder: Path) -> None:
    path = folder / str(SegmentName("n", 1, 1))
    whole = path.read_bytes()
    for damage in (
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        whole[:-1],
        (folder / str(segments_of(folder)[-1])).read_bytes(),
    ):
        path.write_bytes(damage)
        assert any(detail.startswith("I2 ") for detail in details(audit(database, folder)))
    path.unlink()
    assert any("not in the journal" in detail for detail in details(audit(database, folder)))
    path.write_bytes(whole)
    assert details(audit(database, folder)) == []


def test_balances_can_be_built_again_from_the_entries(database: Database, folder: Path) -> None:
    with database.write() as connection:
        connection.execute(sa.update(tables.ledger_balances).values(debits_nano=1))
        rebuild_balances(connection)
    assert details(audit(database, folder)) == []
