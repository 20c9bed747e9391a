from __future__ import annotations

import pytest
import sqlalchemy as sa

from airserve.accounts.plans import check_terms, find_plan, insert_plan
from airserve.accounts.terms import Budget, Commitment, Hardening, Limits, Terms
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.storage import Database, tables


@pytest.mark.parametrize(
    "terms",
    [
        Terms(currency="eur"), Terms(limits=Limits(calls_per_minute=0)), Terms(hardening=Hardening(top_k=-1)),
        Terms(hardening=Hardening(decimals=16)), Terms(priority=101), Terms(share=0), Terms(free={"calls": -1}),
        Terms(monthly_minimum_nano=-1), Terms(budget=Budget(1 << 63)), Terms(commitment=Commitment(0, 1)),
        Terms(commitment=Commitment(1, 1_000_001)), Terms(min_accuracy=1.5), Terms(min_accuracy=float("nan")),
    ],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(terms: Terms) -> None:
    with pytest.raises(InvalidInputError):
        check_terms(terms)


def test_answers_may_be_rounded_to_whole_numbers() -> None:
    check_terms(Terms(hardening=Hardening(decimals=0)))


def test_a_published_version_never_changes(database: Database) -> None:
    with database.write() as connection:
        plan = insert_plan(connection, "team", "Team", Terms(priority=3), now_ns=2)
    for change in (tables.plans.update().values(terms="{}"), tables.plans.delete()):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.write() as connection:
            connection.execute(change)
    with database.read() as connection:
        assert (
            find_plan(connection, "team") == find_plan(connection, "team@1") == find_plan(connection, plan.id) == plan
        )
        for unknown in ("tea", "team@2"):
            with pytest.raises(NotFoundError):
                find_plan(connection, unknown)
        with pytest.raises(InvalidInputError):
            find_plan(connection, "team@latest")
