from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airserve.accounts import create_tenant
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.metering import Journal, Outcome, fold
from airserve.metering.usage import DAY_NS, totals, usage
from airserve.storage import Database

DAY = dt.date(2024, 10, 4)
MIDNIGHT_NS = 20_000 * DAY_NS
Record = Callable[..., None]


@pytest.fixture
def db(database: Database) -> Database:
    return database


@pytest.fixture
def record(tmp_path: Path, db: Database, make_event: Any) -> Record:
    """Record events, given as changes to a plain one, and fold them."""
    numbers = iter(range(10_000))

    def record(*changes: dict[str, Any]) -> None:
        journal = Journal.open(tmp_path / "journal", "n")
        base = {"admitted_ns": MIDNIGHT_NS}
        journal.append([make_event(**{"id": f"call-{next(numbers)}"} | base | each) for each in changes])
        journal.close()
        fold(db, tmp_path / "journal")

    return record


def test_usage_is_summed_per_tenant_model_day_and_currency(db: Database, record: Record) -> None:
    record(
        {}, {}, {"tenant_id": "ten_b"}, {"model": "other"}, {"admitted_ns": MIDNIGHT_NS + DAY_NS}, {"currency": "CHF"}
    )
    found = [(row.tenant_id, row.model, row.day, row.currency, row.calls) for row in usage(db)]
    assert found == [
        ("ten_a", "digits", DAY, "CHF", 1),
        ("ten_a", "digits", DAY, "EUR", 2),
        ("ten_a", "digits", DAY + dt.timedelta(days=1), "EUR", 1),
        ("ten_a", "other", DAY, "EUR", 1),
        ("ten_b", "digits", DAY, "EUR", 1),
    ]


def test_every_outcome_is_counted_and_only_answered_calls_are_summed(db: Database, record: Record) -> None:
    tokens = {"input_tokens": 8, "cached_tokens": 3, "output_tokens": 5}
    answered = {"rows": 4, "bytes_in": 10, "bytes_out": 20, "compute_ns": 1_500_000_000, "amount_nano": 2_500_000_000}
    answered |= tokens
    free = {"rows": 9, "bytes_in": 9, "bytes_out": 9, "compute_ns": 9, "amount_nano": 0, **tokens}
    counts = {Outcome.REFUSED: 1, Outcome.LATE: 2, Outcome.CANCELLED: 3, Outcome.FAILED: 4}
    record(answered, answered, *(free | {"outcome": outcome} for outcome, n in counts.items() for _ in range(n)))
    (row,) = usage(db)
    assert (row.ok, row.refused, row.late, row.cancelled, row.failed, row.calls) == (2, 1, 2, 3, 4, 12)
    assert (row.rows, row.bytes_in, row.bytes_out) == (8, 20, 40)
    assert (row.compute_ns, row.compute_seconds) == (3_000_000_000, "3.00")
    assert (row.amount_nano, row.amount) == (5_000_000_000, "5.00")
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (16, 6, 10)


def test_a_generation_that_ended_early_is_counted_apart_and_summed(db: Database, record: Record) -> None:
    partial = {"outcome": Outcome.PARTIAL, "rows": 1, "amount_nano": 7, "input_tokens": 2, "output_tokens": 3}
    record({"amount_nano": 10, "output_tokens": 1}, partial, partial | {"admitted_ns": MIDNIGHT_NS + 1})
    (row,) = usage(db)
    assert (row.ok, row.partial, row.calls, row.amount_nano) == (1, 2, 3, 24)
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (4, 0, 7)


def test_a_day_is_a_day_of_utc_by_the_time_of_admission_and_both_bounds_count(db: Database, record: Record) -> None:
    record(*({"admitted_ns": MIDNIGHT_NS + offset} for offset in (-1, 0, DAY_NS - 1, DAY_NS)))
    days = [DAY + dt.timedelta(days=number) for number in (-1, 0, 1)]
    assert [(row.day, row.calls) for row in usage(db)] == list(zip(days, (1, 2, 1), strict=True))
    assert [row.day for row in usage(db, since=DAY)] == days[1:]
    assert [row.day for row in usage(db, until=DAY)] == days[:2]
    assert [row.calls for row in usage(db, since=DAY, until=DAY)] == [2]


def test_usage_of_one_tenant_is_found_by_name_and_by_id_and_of_one_model_by_name(db: Database, record: Record) -> None:
    acme = create_tenant(db, "Acme", now_ns=1)
    record({"tenant_id": acme.id}, {"tenant_id": acme.id, "model": "other"}, {})
    for name in ("Acme", acme.id):
        assert [(row.tenant, row.model) for row in usage(db, tenant=name)] == [("Acme", "digits"), ("Acme", "other")]
    assert [row.tenant for row in usage(db, tenant="Acme", model="other")] == ["Acme"]
    assert usage(db, tenant="Acme", model="none") == []


def test_usage_of_a_tenant_that_is_not_known_any_more_is_still_shown(db: Database, record: Record) -> None:
    record({"tenant_id": "ten_gone"})
    assert [(row.tenant_id, row.tenant) for row in usage(db)] == [("ten_gone", "")]


def test_sums_are_exact_beyond_what_a_float_can_hold(db: Database, record: Record) -> None:
    record({"amount_nano": 2**53}, {"amount_nano": 1}, {"amount_nano": 2**60, "model": "other"})
    assert [row.amount_nano for row in usage(db)] == [2**53 + 1, 2**60]
    assert totals(usage(db)) == {"EUR": 2**60 + 2**53 + 1}


def test_totals_keep_currencies_apart(db: Database, record: Record) -> None:
    record({"amount_nano": 5}, {"amount_nano": 7, "currency": "CHF"}, {"amount_nano": 6, "model": "other"})
    assert totals(usage(db)) == {"CHF": 7, "EUR": 11}


def test_an_unknown_tenant_and_days_in_the_wrong_order_are_refused(db: Database) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        usage(db, tenant="nobody")
    with pytest.raises(InvalidInputError, match="earlier day first"):
        usage(db, since=DAY, until=DAY - dt.timedelta(days=1))
