"""A stream is charged once: for its end, or, where its process died before that, for its newest record."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.core.errors import ConflictError
from airserve.core.generation import TokenCounts
from airserve.metering.audit import audit
from airserve.metering.audit.export import export_books
from airserve.metering.event import Outcome
from airserve.metering.journal import Journal
from airserve.metering.ledger import FoldResult, fold, last_epoch
from airserve.metering.nodes import beat, check_retires
from airserve.metering.prices import Price, partial_amount_nano, set_price
from airserve.metering.unfinished import end_of_retired, end_unfinished, unfinished
from airserve.metering.usage import usage
from airserve.storage import Database, tables

EXAMPLE = Path(__file__).parents[2] / "examples" / "verify_usage.py"


class Books:
    """A price of 5 nano a token, a node's journal, and what the ledger says."""

    def __init__(self, database: Database, folder: Path, make_event: Any) -> None:
        self.database = database
        self.folder = folder
        self.price: Price = set_price(
            database, "digits", per_call_nano=1_000, per_compute_second_nano=0,
            per_million_output_tokens_nano=5_000_000, now_ns=1,
        )  # fmt: skip
        self.make_event = make_event
        self.journal = self.start()

    def start(self) -> Journal:
        return Journal.open(self.folder, "n", after_epoch=last_epoch(self.database, "n"))

    def restart(self) -> int:
        """As a serving process does it; how many streams it ended."""
        self.journal.close()
        self.journal = self.start()
        fold(self.database, self.folder)
        ended = end_unfinished(self.database, self.journal, "n")
        fold(self.database, self.folder)
        return ended

    def record(self, tokens: int, outcome: Outcome = Outcome.PROGRESS, *, id: str = "a", at: int = 5) -> None:
        amount = partial_amount_nano(self.price, TokenCounts(0, 0, tokens))
        amount += self.price.per_call_nano * (outcome is Outcome.OK)
        event = self.make_event(
            id=id, outcome=outcome, output_tokens=tokens, amount_nano=amount * (outcome is not Outcome.FAILED),
            admitted_ns=at, price_id=self.price.id,
        )  # fmt: skip
        self.journal.append([event])

    def charged(self) -> list[tuple[str, int, int]]:
        events = tables.usage_events.c
        query = sa.select(events.outcome, events.output_tokens, events.amount_nano)
        with self.database.read() as connection:
            return [
                tuple(row) for row in connection.execute(query.order_by(events.admitted_ns, events.epoch, events.lsn))
            ]

    def differences(self, tmp_path: Path) -> list[str]:
        """Of our own audit and of the one that shares no code with it."""
        place = tmp_path / f"export-{len(list(tmp_path.iterdir()))}"
        export_books(self.database, self.folder, place)
        found: list[str] = runpy.run_path(str(EXAMPLE))["problems"](place)
        return found + [each for check in audit(self.database, self.folder) for each in check.details]


@pytest.fixture
def books(database: Database, tmp_path: Path, make_event: Any) -> Any:
    made = Books(database, tmp_path / "journal", make_event)
    yield made
    made.journal.close()


def test_a_stream_that_ends_costs_its_end_alone_in_whatever_pieces_it_is_folded(books: Books, tmp_path: Path) -> None:
    for tokens in (16, 32):
        books.record(tokens)
        assert fold(books.database, books.folder) == FoldResult()
        assert [event.output_tokens for event in unfinished(books.database, "n")] == [tokens]
        assert books.differences(tmp_path) == []
    books.record(40, Outcome.OK)
    books.record(16, at=6)
    books.record(3, Outcome.PARTIAL, at=6)
    books.record(16, id="b")
    books.record(0, Outcome.FAILED, id="b")
    assert fold(books.database, books.folder, chunk=2) == FoldResult(3)
    assert unfinished(books.database, "n") == [] and books.restart() == 0
    assert sorted(books.charged()) == [("failed", 0, 0), ("ok", 40, 1_200), ("partial", 3, 15)]
    assert books.differences(tmp_path) == []
    assert sum(row.calls for row in usage(books.database)) == 3


def test_a_stream_without_an_end_costs_its_newest_record_once_its_node_starts_again(
    books: Books, tmp_path: Path
) -> None:
    books.record(16)
    books.record(32)
    fold(books.database, books.folder)
    assert books.charged() == [] and books.differences(tmp_path) == []
    assert (books.restart(), books.restart()) == (1, 0)
    assert books.charged() == [("partial", 32, 160)]
    with books.database.write() as connection:
        connection.execute(sa.delete(tables.journal_marks))
    fold(books.database, books.folder)
    assert books.restart() == 0 and books.charged() == [("partial", 32, 160)]
    assert books.differences(tmp_path) == []


def test_a_start_that_dies_before_it_has_folded_the_ends_charges_nothing_twice(books: Books, tmp_path: Path) -> None:
    books.record(16)
    fold(books.database, books.folder)
    end_unfinished(books.database, books.journal, "n")
    end_unfinished(books.database, books.journal, "n")
    assert books.restart() == 0
    assert books.charged() == [("partial", 16, 80)] and books.differences(tmp_path) == []


def test_a_try_that_died_and_the_answer_to_its_retry_are_two(books: Books) -> None:
    books.record(16, at=5)
    assert books.restart() == 1
    books.record(16, at=6)
    books.record(20, Outcome.OK, at=6)
    assert books.restart() == 0
    assert books.charged() == [("partial", 16, 80), ("ok", 20, 1_100)]


def test_a_node_that_will_not_start_again_is_paid_too_but_not_while_it_runs(books: Books) -> None:
    books.record(16)
    fold(books.database, books.folder)
    with pytest.raises(ConflictError, match="another process"):
        end_of_retired(books.database, books.folder, "n", 1)
    books.journal.close()
    assert end_of_retired(books.database, books.folder, "other", 0) == 0
    assert end_of_retired(books.database, books.folder, "n", last_epoch(books.database, "n")) == 1
    fold(books.database, books.folder)
    assert books.charged() == [("partial", 16, 80)]
    with books.database.write() as connection:
        beat(connection, "n", 1, 1, 10)
    with pytest.raises(ConflictError, match="alive"):
        check_retires(books.database, "n", 11)


def test_a_stream_that_the_fold_has_forgotten_or_invented_is_a_difference(books: Books, tmp_path: Path) -> None:
    books.record(16)
    fold(books.database, books.folder)
    (event,) = unfinished(books.database, "n")
    assert event.output_tokens == 16
    with books.database.write() as connection:
        connection.execute(sa.update(tables.unfinished_calls).values(id="ten_a/other/5"))
    assert len(books.differences(tmp_path)) == 4
    with books.database.write() as connection:
        connection.execute(sa.delete(tables.unfinished_calls))
    assert len(books.differences(tmp_path)) == 2
