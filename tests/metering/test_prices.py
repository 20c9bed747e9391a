from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.metering.prices import FREE, MAX_PRICE_NANO, Price, amount_nano, load_prices, set_price
from airserve.storage import tables
from airserve.storage.database import Database


@given(st.integers(0, MAX_PRICE_NANO), st.integers(0, MAX_PRICE_NANO), st.integers(0, 8_000 * 10**9))
def test_an_amount_is_the_exact_product_rounded_half_up(per_call: int, per_second: int, compute_ns: int) -> None:
    price = Price(1, "m", per_call, per_second, "EUR")
    exact = Decimal(per_second) * Decimal(compute_ns) / Decimal(10**9)
    assert amount_nano(price, compute_ns) == per_call + int(exact.quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize(("compute_ns", "amount"), [(0, 10), (499_999_999, 10), (500_000_000, 11), (1_000_000_000, 11)])
def test_half_a_nano_unit_counts_as_one(compute_ns: int, amount: int) -> None:
    assert amount_nano(Price(1, "m", 10, 1, "EUR"), compute_ns) == amount


def test_an_amount_that_the_ledger_cannot_hold_and_negative_time_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="the ledger holds"):
        amount_nano(Price(1, "m", 0, MAX_PRICE_NANO, "EUR"), 10_000 * 10**9)
    with pytest.raises(InvalidInputError, match="0 ns or more"):
        amount_nano(FREE, -1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def test_without_any_price_calls_are_free(db: Database) -> None:
    price = load_prices(db).of("digits")
    assert (price.id, amount_nano(price, 10**12)) == (0, 0)


def test_a_model_has_its_newest_price_else_that_of_every_model(db: Database) -> None:
    everyone = set_price(db, "*", per_call_nano=1, per_compute_second_nano=2, now_ns=10)
    old = set_price(db, "digits", per_call_nano=3, per_compute_second_nano=4, now_ns=11)
    book = load_prices(db)
    new = set_price(db, "digits", per_call_nano=5, per_compute_second_nano=6, now_ns=12, currency="CHF")
    assert (book.of("digits"), load_prices(db).of("digits")) == (old, new)
    assert load_prices(db).of("other") == everyone
    assert new.id > old.id > everyone.id > 0


def test_a_price_never_changes(db: Database) -> None:
    set_price(db, "digits", per_call_nano=3, per_compute_second_nano=4, now_ns=11)
    before = load_prices(db).of("digits")
    for statement in (sa.update(tables.prices).values(per_call_nano=0), sa.delete(tables.prices)):
        with pytest.raises(Exception, match=r"(?i)append-only|immutable|never"), db.write() as connection:
            connection.execute(statement)
    assert load_prices(db).of("digits") == before


@pytest.mark.parametrize(
    ("model", "per_call", "per_second", "currency"),
    [
        ("", 0, 0, "EUR"),
        ("m", -1, 0, "EUR"),
        ("m", 0, MAX_PRICE_NANO + 1, "EUR"),
        ("m", 0, 0, "euro"),
        ("m\n", 0, 0, "EUR"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(
    db: Database, model: str, per_call: int, per_second: int, currency: str
) -> None:
    with pytest.raises(InvalidInputError):
        set_price(db, model, per_call_nano=per_call, per_compute_second_nano=per_second, now_ns=1, currency=currency)
    assert load_prices(db).of("m") == FREE
