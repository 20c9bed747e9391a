from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.metering.event import INT64_MAX
from airserve.metering.money import amount_text, nano_of


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (1, "0.000000001"), (1_234_500_000, "1.2345"), (-20_000_000, "-0.02"), (10**10, "10.00")],
)
def test_an_amount_is_shown_with_two_places_or_as_many_as_it_needs(nano: int, text: str) -> None:
    assert amount_text(nano) == text


@given(st.integers(0, INT64_MAX))
def test_an_amount_as_text_is_exact_and_reads_back(nano: int) -> None:
    assert Decimal(amount_text(nano)) == Decimal(nano).scaleb(-9)
    assert nano_of(amount_text(nano)) == nano


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "0.0000000001", "1,5", ".5", "1.", "nan", "²", "9999999999.9", "1 2"]
)
def test_what_is_no_plain_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no amount"):
        nano_of(text)
