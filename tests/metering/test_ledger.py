from __future__ import annotations

import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.core.errors import DamagedJournalError
from airserve.metering.event import Outcome
from airserve.metering.journal import Journal
from airserve.metering.journal_format import SegmentName, encode_batch
from airserve.metering.ledger import FoldResult, fold, last_epoch, ledger_id
from airserve.metering.prices import amount_nano, load_prices, set_price
from airserve.metering.segments import segments_of
from airserve.storage import tables
from airserve.storage.database import Database


@pytest.fixture
def db(database: Database) -> Database:
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def ledger(db: Database) -> list[dict[str, Any]]:
    """Every row of the ledger, by its place in the journals."""
    events = tables.usage_events
    with db.read() as connection:
        query = sa.select(events).order_by(events.c.node_id, events.c.epoch, events.c.lsn)
        return [dict(row._mapping) for row in connection.execute(query)]


def calls(db: Database) -> list[str]:
    return [row["id"].partition("/")[2] for row in ledger(db)]


def test_an_event_is_in_the_ledger_as_it_was_recorded(db: Database, folder: Path, make_event: Any) -> None:
    tokens = {"input_tokens": 7, "cached_tokens": 2, "output_tokens": 4}
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="a", rows=3, amount_nano=12, admitted_ns=5, **tokens)])
    journal.close()
    assert fold(db, folder) == FoldResult(inserted=1)
    (row,) = ledger(db)
    assert row == {
        "id": "ten_a/a", "tenant_id": "ten_a", "key_id": "key_a", "model": "digits", "version": 1, "price_id": 0,
        "outcome": "ok", "rows": 3, "bytes_in": 256, "bytes_out": 40, "compute_ns": 1_000_000, "amount_nano": 12,
        "currency": "EUR", "admitted_ns": 5, "input_tokens": 7, "cached_tokens": 2, "output_tokens": 4,
        "project_id": "", "cap_nano": 0, "node_id": "n", "epoch": 1, "lsn": 1,
    }  # fmt: skip


def test_folding_again_changes_nothing(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id=str(number)) for number in range(20)])
    journal.close()
    assert fold(db, folder).inserted == 20
    before = ledger(db)
    assert fold(db, folder) == FoldResult()
    assert ledger(db) == before


def test_a_mark_that_was_lost_leads_to_duplicates_and_to_the_same_ledger(
    db: Database, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id=str(number)) for number in range(1_200)])
    journal.close()
    fold(db, folder)
    before = ledger(db)
    with db.write() as connection:
        connection.execute(sa.delete(tables.journal_marks))
    assert fold(db, folder, chunk=500) == FoldResult(duplicates=1_200)
    assert ledger(db) == before


def test_a_retried_call_is_charged_once(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="a"), make_event(id="a")])
    journal.append([make_event(id="a", rows=7)])
    journal.close()
    again = Journal.open(folder, "n")
    again.append([make_event(id="a")])
    again.close()
    assert fold(db, folder) == FoldResult(inserted=1, duplicates=3)
    (row,) = ledger(db)
    assert (row["rows"], row["lsn"], row["epoch"]) == (1, 1, 1)


def test_a_retry_that_is_answered_is_charged_although_the_first_try_was_late(
    db: Database, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n")
    for outcome, amount in (
        (Outcome.LATE, 0),
        (Outcome.CANCELLED, 0),
        (Outcome.LATE, 0),
        (Outcome.OK, 9),
        (Outcome.OK, 9),
    ):
        journal.append([make_event(id="a", outcome=outcome, amount_nano=amount)])
    journal.close()
    assert fold(db, folder) == FoldResult(inserted=3, duplicates=2)
    assert calls(db) == ["a/late", "a/cancelled", "a"]
    assert sum(row["amount_nano"] for row in ledger(db)) == 9


def test_each_try_of_a_generation_that_ended_early_costs_its_own_tokens(
    db: Database, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n")
    for admitted_ns, outcome in ((1, Outcome.PARTIAL), (2, Outcome.PARTIAL), (3, Outcome.OK), (4, Outcome.OK)):
        journal.append([make_event(id="a", outcome=outcome, admitted_ns=admitted_ns, amount_nano=admitted_ns)])
    journal.close()
    for _ in range(2):
        fold(db, folder)
        with db.write() as connection:
            connection.execute(sa.delete(tables.journal_marks))
    assert [(row["outcome"], row["amount_nano"]) for row in ledger(db)] == [("partial", 1), ("partial", 2), ("ok", 3)]


def test_two_tenants_may_choose_the_same_id(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="1", tenant_id="ten_a"), make_event(id="1", tenant_id="ten_b")])
    journal.close()
    assert fold(db, folder).inserted == 2
    assert {row["id"] for row in ledger(db)} == {ledger_id("ten_a", "1"), ledger_id("ten_b", "1")}


def test_all_nodes_epochs_and_segments_are_folded_in_small_transactions(
    db: Database, folder: Path, make_event: Any
) -> None:
    expected = []
    for node in ("a", "b-1"):
        for start in range(2):
            journal = Journal.open(folder, node, segment_bytes=600)
            for number in range(30):
                expected.append(f"{node}-{start}-{number}")
                journal.append([make_event(id=expected[-1])])
            journal.close()
    assert fold(db, folder, chunk=7).inserted == 120
    assert calls(db) == expected
    assert (last_epoch(db, "a"), last_epoch(db, "b-1"), last_epoch(db, "new")) == (2, 2, 0)


def test_no_folder_and_an_empty_journal_fold_to_nothing(db: Database, folder: Path) -> None:
    assert fold(db, folder) == FoldResult()
    Journal.open(folder, "n").close()
    (folder / "notes.txt").write_text("not a segment")
    assert fold(db, folder) == FoldResult()


def test_a_batch_that_is_not_whole_is_not_yet_there(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="a")])
    size = (folder / str(segments_of(folder)[0])).stat().st_size
    journal.append([make_event(id="b"), make_event(id="c"), make_event(id="d")])
    journal.close()
    path = folder / str(segments_of(folder)[0])
    whole = path.read_bytes()
    for cut in range(size, len(whole)):
        path.write_bytes(whole[:cut])
        fold(db, folder)
        assert calls(db) == ["a"]
    path.write_bytes(whole)
    assert fold(db, folder).inserted == 3
    assert calls(db) == ["a", "b", "c", "d"]


def test_servers_append_while_several_fold_and_every_call_counts_once(
    tmp_path: Path, db: Database, database_url: str | None, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n", segment_bytes=10_000)
    other = Database.open(tmp_path / "state", database_url)
    done = threading.Event()
    results: list[FoldResult] = []

    def keep_folding(database: Database) -> None:
        while not done.is_set():
            results.append(fold(database, folder, chunk=50))

    folders = [threading.Thread(target=keep_folding, args=(database,)) for database in (db, other)]
    for thread in folders:
        thread.start()
    for number in range(300):
        journal.append([make_event(id=f"{number}-{part}") for part in range(number % 7 + 1)])
    done.set()
    for thread in folders:
        thread.join()
    journal.close()
    results.append(fold(db, folder))
    other.close()
    expected = [f"{number}-{part}" for number in range(300) for part in range(number % 7 + 1)]
    assert calls(db) == expected
    assert sum(results, FoldResult()) == FoldResult(inserted=len(expected))


def test_a_fold_ends_although_calls_keep_coming(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "node0")
    journal.append([make_event(id="before")])
    numbers = itertools.count()

    def more_calls_come() -> int:
        journal.append([make_event(id=f"meanwhile {next(numbers)}")])
        return 0

    assert fold(db, folder, clock_ns=more_calls_come).inserted == 1
    assert fold(db, folder).inserted == 1
    journal.close()


def test_damage_stops_the_fold_at_its_place_and_what_came_before_is_in_the_ledger(
    db: Database, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n", segment_bytes=320)
    for number in range(12):
        journal.append([make_event(id=str(number))])
    journal.close()
    second = folder / str(SegmentName("n", 1, 1))
    data = bytearray(second.read_bytes())
    data[40] ^= 1
    second.write_bytes(data)
    for _ in range(2):
        with pytest.raises(DamagedJournalError, match=r"n-00000001-00000001\.wal holds no sound frame at offset 0"):
            fold(db, folder)
        assert calls(db) == ["0", "1", "2", "3", "4"]


def test_a_torn_segment_that_is_not_the_last_is_damage(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n", segment_bytes=300)
    for number in range(12):
        journal.append([make_event(id=str(number))])
    journal.close()
    first = folder / str(SegmentName("n", 1, 0))
    os.truncate(first, first.stat().st_size - 1)
    with pytest.raises(DamagedJournalError, match=r"00000000\.wal holds no sound frame"):
        fold(db, folder)


def test_a_missing_segment_is_named_unless_it_was_folded(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n", segment_bytes=300)
    for number in range(6):
        journal.append([make_event(id=str(number))])
    fold(db, folder)
    for number in range(6, 18):
        journal.append([make_event(id=str(number))])
    journal.close()
    names = [str(segment) for segment in segments_of(folder)]
    (folder / names[0]).unlink()
    unread = (folder / names[2]).read_bytes()
    (folder / names[2]).unlink()
    for _ in range(2):
        with pytest.raises(DamagedJournalError, match=f"{names[2]} is missing"):
            fold(db, folder)
    (folder / names[2]).write_bytes(unread)
    fold(db, folder)
    assert calls(db) == [str(number) for number in range(18)]


def test_a_segment_shorter_than_what_was_read_of_it_is_damage(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="a")])
    fold(db, folder)
    journal.close()
    os.truncate(folder / str(SegmentName("n", 1, 0)), 5)
    with pytest.raises(DamagedJournalError):
        fold(db, folder)


def test_two_journals_that_used_one_node_and_epoch_are_found_out(
    tmp_path: Path, db: Database, folder: Path, make_event: Any
) -> None:
    for place, call in ((folder, "a"), (tmp_path / "other", "b")):
        journal = Journal.open(place, "n")
        journal.append([make_event(id=call)])
        journal.close()
    fold(db, folder)
    with db.write() as connection:
        connection.execute(sa.delete(tables.journal_marks))
    with pytest.raises(DamagedJournalError, match="two journals"):
        fold(db, tmp_path / "other")
    assert calls(db) == ["a"]


def test_a_frame_of_an_unknown_kind_of_event_is_not_guessed(db: Database, folder: Path) -> None:
    folder.mkdir()
    (folder / str(SegmentName("n", 1, 0))).write_bytes(encode_batch(1, [b"\x93\x01\x02\x03"]))
    with pytest.raises(DamagedJournalError, match="no usage event that this version reads"):
        fold(db, folder)


def test_the_ledger_is_append_only(db: Database, folder: Path, make_event: Any) -> None:
    journal = Journal.open(folder, "n")
    journal.append([make_event(id="a")])
    journal.close()
    fold(db, folder)
    before = ledger(db)
    for statement in (sa.update(tables.usage_events).values(amount_nano=0), sa.delete(tables.usage_events)):
        with pytest.raises(Exception, match=r"(?i)append-only|never"), db.write() as connection:
            connection.execute(statement)
    assert ledger(db) == before


def test_every_event_rates_to_the_same_amount_again_after_the_price_has_changed(
    db: Database, folder: Path, make_event: Any
) -> None:
    journal = Journal.open(folder, "n")
    prices = {}
    for number in range(5):
        price = set_price(db, "digits", per_call_nano=number, per_compute_second_nano=7**number, now_ns=number)
        prices[price.id] = price
        pinned = load_prices(db).of("digits")
        for compute_ns in (0, 1, 499_999_999, 123_456_789_012):
            amount = amount_nano(pinned, compute_ns)
            event = make_event(
                id=f"{number}-{compute_ns}", price_id=pinned.id, compute_ns=compute_ns, amount_nano=amount
            )
            journal.append([event])
    journal.close()
    fold(db, folder)
    rows = ledger(db)
    assert len(rows) == 20
    assert all(row["amount_nano"] == amount_nano(prices[row["price_id"]], row["compute_ns"]) for row in rows)


def test_a_node_whose_journal_folder_was_lost_starts_above_the_epochs_of_the_ledger(
    db: Database, folder: Path, make_event: Any
) -> None:
    for call in ("a", "b"):
        journal = Journal.open(folder, "n", after_epoch=last_epoch(db, "n"))
        journal.append([make_event(id=call)])
        journal.close()
        fold(db, folder)
        shutil.rmtree(folder)
    assert calls(db) == ["a", "b"]
