from __future__ import annotations

from pathlib import Path

import pytest

from airserve.accounts.plans import list_plans
from airserve.accounts.terms import Budget, BudgetMode, Commitment, Hardening, Limits, Terms
from airserve.core.errors import InvalidInputError
from airserve.metering.prices import load_prices
from airserve.metering.tiers import Step
from airserve.server.plan_file import publish_plan, read_plan
from airserve.storage import Database

WHOLE = """
code = "team"
name = "Team"
currency = "CHF"
priority = 10
share = 2
monthly_minimum = "20.00"
[limits]
calls_per_minute = 600
[budget]
limit = "500"
mode = "strict"
[free]
calls = 1_000
[commitment]
amount = "100"
discount_percent = "12.5"
[hardening]
top_k = 5
[prices."*"]
per_call = "0.0002"
[prices.digits]
per_million_input_tokens = "0.2"
per_megabyte = "0.001"
[[prices.digits.tiers.input_tokens]]
from = 1_000_000
price = "0.15"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "plan.toml").write_text(text)
    return folder / "plan.toml"


def test_a_plan_is_published_with_its_terms_and_prices(database: Database, tmp_path: Path) -> None:
    plan = publish_plan(database, read_plan(written(tmp_path, WHOLE)), now_ns=5)
    assert plan.terms == Terms(
        currency="CHF",
        limits=Limits(calls_per_minute=600),
        budget=Budget(500_000_000_000, mode=BudgetMode.STRICT),
        hardening=Hardening(top_k=5),
        priority=10,
        share=2,
        free={"calls": 1000},
        monthly_minimum_nano=20_000_000_000,
        commitment=Commitment(100_000_000_000, 125_000),
    )
    book = load_prices(database)
    digits, other = book.of("digits", plan.id), book.of("other", plan.id)
    assert (digits.per_million_input_tokens_nano, digits.per_million_cached_tokens_nano) == (200_000_000, 200_000_000)
    assert (digits.per_megabyte_nano, digits.currency) == (1_000_000, "CHF")
    assert digits.tiers == {"input_tokens": (Step(1_000_000, 150_000_000),)}
    assert other.per_call_nano == 200_000
    assert book.of("digits").plan_id is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"20.00"', "20.00", "in quotes"),
        ('"0.0002"', '"-1"', "no amount"),
        ('"12.5"', '"12.50001"', "four decimal places"),
        ("calls = 1_000", "cals = 1_000", "no billable unit"),
        ('price = "0.15"', 'price = "0.25"', "no higher"),
        ("calls_per_minute", "calls_per_second", "calls_per_second"),
        ('mode = "strict"', 'mode = "firm"', "mode"),
        ('code = "team"', 'code = "Team!"', "code"),
        ('code = "team"', "code = ", "no plan"),
        ("top_k = 5", "top_k = 0", "top_k"),
        ('code = "team"', 'min_accuracy = 98\ncode = "team"', "min_accuracy is 0 to 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_whole(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    database = Database.open(tmp_path / "state")
    with pytest.raises(InvalidInputError, match=said):
        publish_plan(database, read_plan(written(tmp_path, WHOLE.replace(old, new))), now_ns=5)
    assert list_plans(database) == []
    assert load_prices(database).by_plan == {}
    database.close()
