from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.core.generation import TokenCounts
from airserve.metering.prices import (
    FREE,
    MAX_PRICE_NANO,
    Price,
    amount_nano,
    insert_price,
    load_prices,
    partial_amount_nano,
    set_price,
)
from airserve.metering.tiers import Step
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


prices = st.integers(0, MAX_PRICE_NANO)
counts = st.integers(0, 1_000_000)


@given(prices, prices, prices, st.tuples(counts, counts).map(sorted), counts)
def test_tokens_cost_their_exact_share_of_a_million_rounded_half_up_once(
    per_input: int, per_cached: int, per_output: int, prompt: list[int], output: int
) -> None:
    cached, given_tokens = prompt
    price = Price(1, "m", 0, 0, "EUR", per_input, per_cached, per_output)
    exact = Decimal(per_input * (given_tokens - cached) + per_cached * cached + per_output * output) / 10**6
    whole = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    tokens = TokenCounts(given_tokens, cached, output)
    assert amount_nano(price, 0, tokens) == partial_amount_nano(price, tokens) == whole


@given(st.integers(0, 10**12), counts, counts)
def test_compute_time_and_tokens_are_rounded_together(compute_ns: int, per_second: int, output: int) -> None:
    price = Price(1, "m", 3, per_second, "EUR", 0, 0, per_second)
    exact = Decimal(per_second * compute_ns) / 10**9 + Decimal(per_second * output) / 10**6
    assert amount_nano(price, compute_ns, TokenCounts(0, 0, output)) == 3 + int(
        exact.quantize(Decimal(1), ROUND_HALF_UP)
    )


def test_a_generation_that_ended_early_costs_its_tokens_alone() -> None:
    price = Price(1, "m", 1_000, 10**9, "EUR", 2_000_000, 1_000_000, 5_000_000)
    tokens = TokenCounts(10, 4, 3)
    assert partial_amount_nano(price, tokens) == 6 * 2 + 4 * 1 + 3 * 5
    assert amount_nano(price, 7, tokens) == 1_000 + 7 + 6 * 2 + 4 * 1 + 3 * 5


@pytest.mark.parametrize("tokens", [TokenCounts(1, 2, 0), TokenCounts(-1, -1, 0), TokenCounts(0, 0, -1)])
def test_counts_that_cannot_be_are_refused(tokens: TokenCounts) -> None:
    with pytest.raises(InvalidInputError, match="no counts"):
        amount_nano(FREE, 0, tokens)


def test_an_amount_that_the_ledger_cannot_hold_and_negative_time_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="the ledger holds"):
        amount_nano(Price(1, "m", 0, MAX_PRICE_NANO, "EUR"), 10_000 * 10**9)
    with pytest.raises(InvalidInputError, match="0 ns or more"):
        amount_nano(FREE, -1)


@pytest.fixture
def db(database: Database) -> Database:
    return database


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


def test_cached_tokens_cost_what_input_tokens_cost_unless_they_have_a_price_of_their_own(db: Database) -> None:
    same = set_price(db, "chat", per_million_input_tokens_nano=20, per_million_output_tokens_nano=80, now_ns=1)
    assert load_prices(db).of("chat") == same == Price(same.id, "chat", 0, 0, "EUR", 20, 20, 80)
    own = set_price(db, "chat", per_million_input_tokens_nano=20, per_million_cached_tokens_nano=0, now_ns=2)
    assert load_prices(db).of("chat") == own == Price(own.id, "chat", 0, 0, "EUR", 20, 0, 0)


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


@pytest.mark.parametrize("kind", ["input", "cached", "output"])
def test_a_price_of_tokens_that_makes_no_sense_is_refused(db: Database, kind: str) -> None:
    for nano in (-1, MAX_PRICE_NANO + 1):
        with pytest.raises(InvalidInputError, match=f"a million .*{kind}"):
            set_price(db, "m", now_ns=1, **{f"per_million_{kind}_tokens_nano": nano})


def test_a_megabyte_of_request_and_reply_is_priced_and_tiers_do_not_change_what_a_call_costs(db: Database) -> None:
    price = set_price(db, "m", per_call_nano=10, per_megabyte_nano=3_000_000, now_ns=1, tiers={"calls": [Step(5, 2)]})
    assert amount_nano(price, 0, size_bytes=500_000) == 10 + 1_500_000
    assert load_prices(db).of("m") == price
    with pytest.raises(InvalidInputError, match="0 bytes"):
        amount_nano(price, 0, size_bytes=-1)


def test_a_plan_has_its_own_price_of_a_model_then_of_every_model_then_the_list(db: Database) -> None:
    with db.write() as connection:
        made = {
            (plan, model): insert_price(connection, Price(0, model, 1, 2, "EUR", plan_id=plan), 1)
            for plan, model in (("team", "digits"), ("team", "*"), (None, "digits"), (None, "*"))
        }
    book = load_prices(db)
    assert book.of("digits", "team") == made["team", "digits"]
    assert book.of("chat", "team") == made["team", "*"]
    assert book.of("digits", "other") == book.of("digits") == made[None, "digits"]
    assert book.of("chat", "other") == made[None, "*"]
