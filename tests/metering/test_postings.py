from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.errors import AirserveError, ConflictError, InvalidInputError, NotFoundError
from airserve.metering.event import INT64_MAX
from airserve.metering.postings import (
    BANK,
    REVENUE,
    AccountName,
    Entry,
    balance,
    close_period,
    closed_through,
    credit,
    post,
    read_entry,
    rebuild_balances,
    receivable,
    reverse,
)
from airserve.storage import Database, tables

OWED = receivable("ten_a")
ENTRY = Entry(OWED, REVENUE, 1_000, "EUR", "minimum", "ten_a", "2026-01", event_id="m-1")
PAYMENT = Entry(BANK, OWED, 400, "EUR", "payment", "ten_a", "2026-01", event_id="p-1")


def count(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(tables.ledger_entries)) or 0


def test_an_entry_debits_one_account_and_credits_another(database: Database) -> None:
    with database.write() as connection:
        post(connection, ENTRY, now_ns=1)
        post(connection, PAYMENT, now_ns=2)
        assert balance(connection, OWED, "EUR") == 600
        assert balance(connection, REVENUE, "EUR") == -1_000
        assert balance(connection, BANK, "EUR") == 400
        assert balance(connection, OWED, "CHF") == balance(connection, receivable("ten_b"), "EUR") == 0


def test_what_is_posted_again_for_the_same_event_is_there_once(database: Database) -> None:
    with database.write() as connection:
        first = post(connection, ENTRY, now_ns=1)
        assert post(connection, ENTRY, now_ns=9) == first
        assert post(connection, replace(ENTRY, kind="tax"), now_ns=9) != first
        assert count(connection) == 2
        with pytest.raises(ConflictError, match="with 1000 nano-units of EUR; correct it by reversing entry"):
            post(connection, replace(ENTRY, amount_nano=1_001), now_ns=9)


def test_a_mistake_is_reversed_once_and_comes_to_nothing(database: Database) -> None:
    with database.write() as connection:
        entry_id = post(connection, ENTRY, now_ns=1)
        opposite = read_entry(connection, reverse(connection, entry_id, period="2026-02", now_ns=2, note="a slip"))
        assert (opposite.debit, opposite.credit, opposite.reverses) == (REVENUE, OWED, entry_id)
        assert (opposite.period, opposite.service_period) == ("2026-02", "2026-01")
        assert balance(connection, OWED, "EUR") == balance(connection, REVENUE, "EUR") == 0
        assert balance(connection, OWED, "EUR", "2026-02") == -1_000
        with pytest.raises(ConflictError, match="was reversed already"):
            reverse(connection, entry_id, period="2026-02", now_ns=3)
        with pytest.raises(NotFoundError):
            reverse(connection, 999, period="2026-02", now_ns=3)


def test_a_closed_month_and_those_before_it_take_nothing_and_retries_still_find_their_entry(database: Database) -> None:
    with database.write() as connection:
        entry_id = post(connection, ENTRY, now_ns=1)
        close_period(connection, "ten_a", "2026-02", now_ns=2)
        close_period(connection, "ten_a", "2026-01", now_ns=2)
        assert closed_through(connection, ["ten_a", "ten_b"]) == {"ten_a": "2026-02"}
        for period in ("2026-01", "2026-02"):
            with pytest.raises(ConflictError, match="is closed"):
                post(connection, replace(PAYMENT, period=period), now_ns=3)
        assert post(connection, ENTRY, now_ns=4) == entry_id
        post(connection, replace(PAYMENT, period="2026-03"), now_ns=5)
        post(connection, replace(ENTRY, tenant_id="ten_b", debit=receivable("ten_b"), event_id="b"), now_ns=6)


@pytest.mark.parametrize(
    "change",
    [{"amount_nano": 0}, {"amount_nano": -5}, {"amount_nano": INT64_MAX + 1}, {"credit": OWED}, {"period": "x"}],
)
def test_what_is_no_entry_is_refused(database: Database, change: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError), database.write() as connection:
        post(connection, replace(ENTRY, **change), now_ns=1)  # type: ignore[arg-type]


def test_a_balance_beyond_what_the_ledger_holds_is_refused_and_nothing_is_left(database: Database) -> None:
    with pytest.raises(AirserveError, match="the ledger holds no more"), database.write() as connection:
        post(connection, replace(ENTRY, amount_nano=INT64_MAX), now_ns=1)
        post(connection, replace(ENTRY, amount_nano=1, event_id="m-2"), now_ns=1)
    with database.read() as connection:
        assert count(connection) == 0


@pytest.mark.parametrize("table", ["ledger_entries", "ledger_accounts", "closed_periods"])
def test_nothing_that_was_posted_can_be_changed_or_removed(database: Database, table: str) -> None:
    with database.write() as connection:
        post(connection, ENTRY, now_ns=1)
        close_period(connection, "ten_a", "2026-01", now_ns=1)
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET currency = 'X'"):
        if table == "closed_periods":
            statement = statement.replace("currency", "tenant_id")
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.write() as connection:
            connection.exec_driver_sql(statement)


NAMES = st.sampled_from([BANK, REVENUE, AccountName("tax"), *map(receivable, "ab"), *map(credit, "ab")])
CURRENCIES, PERIODS = st.sampled_from(["EUR", "JPY"]), st.sampled_from(["2026-01", "2026-02"])
MOVES = st.lists(
    st.tuples(NAMES, NAMES, st.integers(1, 10**15), CURRENCIES, PERIODS).filter(lambda move: move[0] != move[1]),
    max_size=20,
)


@settings(max_examples=15, deadline=None)
@given(MOVES, st.lists(st.integers(0, 30), max_size=10), st.lists(st.integers(0, 30), max_size=5))
def test_whatever_is_posted_reversed_and_posted_again_balances(
    moves: list[tuple[AccountName, AccountName, int, str, str]], reversals: list[int], again: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        database = Database.open(Path(folder))
        expected: dict[tuple[AccountName, str], int] = defaultdict(int)
        with database.write() as connection:
            entries = [
                Entry(debit, credited, nano, currency, "any", "t", period, event_id=str(number))
                for number, (debit, credited, nano, currency, period) in enumerate(moves)
            ]
            ids = [post(connection, entry, now_ns=number) for number, entry in enumerate(entries)]
            for number in again:
                if number < len(ids):
                    assert post(connection, entries[number], now_ns=99) == ids[number]
            undone = {number for number in reversals if number < len(ids)}
            for number in undone:
                reverse(connection, ids[number], period="2026-03", now_ns=100)
            for number, entry in enumerate(entries):
                if number not in undone:
                    expected[entry.debit, entry.currency] += entry.amount_nano
                    expected[entry.credit, entry.currency] -= entry.amount_nano
            before = connection.execute(sa.select(tables.ledger_balances)).all()
            for (name, currency), nano in expected.items():
                assert balance(connection, name, currency) == nano
            rebuild_balances(connection)
            assert sorted(connection.execute(sa.select(tables.ledger_balances)).all()) == sorted(before)
            for currency in ("EUR", "JPY"):
                assert sum(nano for (_, each), nano in expected.items() if each == currency) == 0
        database.close()
