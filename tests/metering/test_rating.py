from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.metering.currencies import minor_of, minor_text, nano_per_minor, tax_minor
from airserve.metering.invoices.document import DocumentLine
from airserve.metering.invoices.lines import not_yet_billed, rounded_to_minor
from airserve.metering.prices import Price
from airserve.metering.rating import Charged, Line, LineKind, MonthlyTerms, Used, rate
from airserve.metering.tiers import Step, checked_tiers, cost_of_first, read_tiers, tiers_text
from airserve.metering.units import UNITS, Unit, decimal_quantity

units = st.sampled_from(list(UNITS.values()))
nanos = st.integers(0, 10**12)


@st.composite
def tiers_of(draw: st.DrawFn) -> tuple[int, tuple[Step, ...]]:
    prices = sorted(draw(st.lists(nanos, min_size=1, max_size=4)), reverse=True)
    quantities = sorted(draw(st.sets(st.integers(1, 10**6), min_size=len(prices) - 1, max_size=len(prices) - 1)))
    return prices[0], tuple(Step(*step) for step in zip(quantities, prices[1:], strict=True))


@st.composite
def prices_of(draw: st.DrawFn) -> Price:
    parts = {unit: draw(tiers_of()) for unit in draw(st.sets(st.sampled_from(sorted(UNITS)), max_size=3))}
    fields = {UNITS[unit].price_field: first for unit, (first, _) in parts.items()}
    plain = {"per_call_nano": 0, "per_compute_second_nano": 0, **fields}
    tiers = {unit: steps for unit, (_, steps) in parts.items() if steps}
    return Price(1, "m", currency="EUR", tiers=tiers, **plain)


@st.composite
def months(draw: st.DrawFn) -> tuple[list[Used], dict[int, Price]]:
    from dataclasses import replace

    prices = {number: replace(draw(prices_of()), id=number) for number in (1, 2)}
    used = draw(
        st.lists(
            st.builds(
                Used, st.sampled_from(["", "p", "q"]), st.sampled_from(["m", "n"]), st.sampled_from([1, 2]),
                st.sampled_from(sorted(UNITS)), st.integers(0, 10**9),
            ),
            max_size=12,
        )
    )  # fmt: skip
    return used, prices


terms_of = st.builds(
    MonthlyTerms,
    st.just("EUR"),
    st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 10**6), max_size=3),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.integers(0, 10**6),
)


@given(units, tiers_of(), st.lists(st.integers(0, 10**12), max_size=6))
def test_however_usage_is_split_its_tiers_cost_the_same(
    unit: Unit, tiers: tuple[int, tuple[Step, ...]], parts: list[int]
) -> None:
    first, steps = tiers
    at, total = 0, 0
    for part in parts:
        total += cost_of_first(unit, first, steps, at + part) - cost_of_first(unit, first, steps, at)
        at += part
    assert total == cost_of_first(unit, first, steps, at)
    assert 0 <= total <= first * at


@given(units, tiers_of(), st.integers(0, 10**10))
def test_the_cost_is_that_of_each_tier_added_up(unit: Unit, tiers: tuple[int, tuple[Step, ...]], quantity: int) -> None:
    first, steps = tiers
    edges = [0, *(step.from_quantity * unit.size for step in steps), 10**30]
    prices = [first, *(step.price_nano for step in steps)]
    expected = sum(price * max(0, min(quantity, edges[place + 1]) - edges[place]) for place, price in enumerate(prices))
    assert cost_of_first(unit, first, steps, quantity) == expected


@given(months(), terms_of, st.integers(0, 10**14))
def test_projects_and_prices_only_split_what_a_month_costs(
    month: tuple[list[Used], dict[int, Price]], terms: MonthlyTerms, calls_nano: int
) -> None:
    used, prices = month
    whole = [Used("", each.model, each.price_id, each.unit, each.quantity) for each in used]
    split, together = (rate(each, [], calls_nano, prices, terms) for each in (used, whole))
    assert sum(line.amount_nano for line in split) == sum(line.amount_nano for line in together)
    assert rate(list(reversed(used)), [], calls_nano, prices, terms) == split


@given(months(), st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 10**6), max_size=3))
def test_an_allowance_never_gives_back_more_than_was_used_and_takes_all_where_it_covers_all(
    month: tuple[list[Used], dict[int, Price]], free: dict[str, int]
) -> None:
    used, prices = month
    exact = sum(line.amount_nano for line in rate(used, [], 0, prices, MonthlyTerms()) if line.kind is LineKind.USAGE)
    lines = rate(used, [], exact, prices, MonthlyTerms(free=free))
    assert sum(line.amount_nano for line in lines) >= 0
    for line in lines:
        if line.kind is LineKind.FREE:
            assert line.amount_nano <= 0
            assert line.quantity <= free[line.unit] * UNITS[line.unit].size
        if line.kind is LineKind.TIER:
            assert line.amount_nano <= 1  # two roundings of a nano-unit each may meet
    everything = dict.fromkeys(UNITS, 10**12)
    assert sum(line.amount_nano for line in rate(used, [], exact, prices, MonthlyTerms(free=everything))) == 0


@given(months(), terms_of, st.integers(0, 10**14))
def test_a_month_costs_at_least_its_minimum_and_its_commitment(
    month: tuple[list[Used], dict[int, Price]], terms: MonthlyTerms, calls_nano: int
) -> None:
    used, prices = month
    total = sum(line.amount_nano for line in rate(used, [], calls_nano, prices, terms))
    assert total >= max(terms.minimum_nano, terms.commitment_nano)


@given(months(), months(), terms_of)
def test_what_came_late_makes_up_for_having_been_late(
    early: tuple[list[Used], dict[int, Price]], late: tuple[list[Used], dict[int, Price]], terms: MonthlyTerms
) -> None:
    prices = early[1]
    billed = rate(early[0], [], 5, prices, terms)
    whole = rate([*early[0], *late[0]], [Charged("", "m", 1, 1, 7)], 9, prices, terms)
    new = not_yet_billed(whole, billed)
    assert sum(line.amount_nano for line in [*billed, *new]) == sum(line.amount_nano for line in whole)
    assert not_yet_billed(whole, [*billed, *new]) == []


def test_the_lines_of_a_small_month_are_what_one_would_write_by_hand() -> None:
    price = Price(3, "digits", 1_000, 0, "EUR", per_megabyte_nano=500_000, tiers={"calls": (Step(100, 400),)})
    used = [
        Used("a", "digits", 3, "calls", 90),
        Used("b", "digits", 3, "calls", 60),
        Used("b", "digits", 3, "megabytes", 3),
    ]
    lines = rate(
        used, [], 150_001, {3: price}, MonthlyTerms(free={"calls": 10}, discount_ppm=500_000, minimum_nano=99_000)
    )
    assert lines == [
        Line(LineKind.USAGE, 90_000, "a", "digits", "calls", 3, 90),
        Line(LineKind.USAGE, 60_000, "b", "digits", "calls", 3, 60),
        Line(LineKind.USAGE, 2, "b", "digits", "megabytes", 3, 3),
        Line(LineKind.CALL_ROUNDING, -1),
        Line(LineKind.TIER, -30_000, "", "digits", "calls"),
        Line(LineKind.FREE, -10_000, "", "", "calls", 0, 10),
        Line(LineKind.DISCOUNT, -55_001),
        Line(LineKind.MINIMUM, 44_000),
    ]


amounts = st.lists(st.integers(-(10**13), 10**13), max_size=30)


@given(amounts, st.sampled_from(["EUR", "JPY", "KWD"]))
def test_cents_add_up_to_the_rounded_sum_and_no_line_is_off_by_more_than_half_a_cent(
    nanos: list[int], currency: str
) -> None:
    scale = nano_per_minor(currency)
    lines = [DocumentLine("usage", "", "2026-01", nano, minor_of(nano, currency)) for nano in nanos]
    rounded = rounded_to_minor(lines, "2026-01", currency)
    assert sum(line.amount_minor for line in rounded) == minor_of(sum(nanos), currency)
    assert sum(line.amount_nano for line in rounded) == minor_of(sum(nanos), currency) * scale
    assert all(2 * abs(line.amount_minor * scale - line.amount_nano) <= scale for line in lines)
    for line in rounded[len(lines) :]:
        assert 2 * abs(line.amount_nano) <= scale


@given(st.integers(-(10**18), 10**18) | st.integers(-(10**9), 10**9).map(lambda halves: halves * 5_000_000))
def test_a_half_cent_goes_away_from_zero_so_that_a_reversal_cancels(nano: int) -> None:
    exact = Fraction(nano, 10**7)
    assert minor_of(-nano, "EUR") == -minor_of(nano, "EUR")
    assert abs(minor_of(nano, "EUR") - exact) <= Fraction(1, 2)
    if exact.denominator == 2:
        assert abs(minor_of(nano, "EUR")) > abs(exact)


@pytest.mark.parametrize(
    ("net", "ppm", "tax"), [(10_000, 220_000, 2_200), (1, 500_000, 1), (-1, 500_000, -1), (333, 77_000, 26), (5, 0, 0)]
)
def test_tax_is_rounded_once(net: int, ppm: int, tax: int) -> None:
    assert tax_minor(net, ppm) == tax


def test_amounts_and_quantities_are_written_exactly() -> None:
    assert [minor_text(-5, "EUR"), minor_text(123456, "EUR"), minor_text(7, "JPY"), minor_text(-1234, "KWD")] == [
        "-0.05", "1234.56", "7", "-1.234"
    ]  # fmt: skip
    assert decimal_quantity(UNITS["compute_seconds"], 1_500_000_000) == "1.5"
    assert decimal_quantity(UNITS["megabytes"], 12) == "0.000012"
    assert decimal_quantity(UNITS["calls"], 1200) == "1200"


@given(tiers_of())
def test_tiers_are_read_as_they_were_written(tiers: tuple[int, tuple[Step, ...]]) -> None:
    first, steps = tiers
    checked = checked_tiers({"calls": steps} if steps else {}, dict.fromkeys(UNITS, first))
    assert read_tiers(tiers_text(checked)) == checked


@pytest.mark.parametrize(
    ("unit", "steps", "reason"),
    [
        ("calls", [Step(10, 101)], "no higher"),
        ("calls", [Step(10, 50), Step(20, 60)], "no higher"),
        ("calls", [Step(10, -1)], "0 or more"),
        ("calls", [Step(0, 50)], "rise"),
        ("calls", [Step(10, 50), Step(10, 40)], "rise"),
        ("days", [Step(10, 50)], "no billable unit"),
    ],
)
def test_tiers_that_make_no_sense_are_refused(unit: str, steps: list[Step], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        checked_tiers({unit: steps}, dict.fromkeys(UNITS, 100))
