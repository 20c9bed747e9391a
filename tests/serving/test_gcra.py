from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from throttled import RateLimiterType, Throttled, per_duration, store

from airserve.serving import gcra
from airserve.serving.gcra import Rate

rates = st.builds(Rate, quota=st.integers(1, 10**9), period_ns=st.sampled_from([gcra.MINUTE_NS, gcra.DAY_NS]))
# When, after the last one, and how many units.
asked = st.lists(st.tuples(st.integers(0, gcra.MINUTE_NS), st.integers(1, 50)), max_size=60)


def test_a_rested_caller_may_ask_for_a_whole_quota_and_then_as_fast_as_it_drains() -> None:
    rate, tat = Rate(60, gcra.MINUTE_NS), 0
    for _ in range(60):
        assert gcra.wait_ns(rate, tat, 5, 1) == 0
        tat = gcra.spend(rate, tat, 5, 1)
    assert gcra.SECOND_NS - 60 <= gcra.wait_ns(rate, tat, 5, 1) <= gcra.SECOND_NS
    assert gcra.room(rate, tat, 5 + gcra.SECOND_NS) == 1
    assert gcra.wait_ns(rate, tat, 5 + 7 * gcra.SECOND_NS, 7) == 0


@given(rates, asked)
def test_in_no_time_does_more_come_through_than_a_quota_and_what_drains(
    rate: Rate, calls: list[tuple[int, int]]
) -> None:
    now, tat = 1, 0
    admitted: list[tuple[int, int]] = []
    for pause, units in calls:
        now += pause
        if gcra.room(rate, tat, now) >= units:
            assert gcra.wait_ns(rate, tat, now, units) == 0
            tat = gcra.spend(rate, tat, now, units)
            admitted.append((now, units))
    for index, (start, _) in enumerate(admitted):
        total = 0
        for at, units in admitted[index:]:
            total += units
            drained_ns = at - start + rate.tolerance_ns
            assert total * rate.period_ns <= drained_ns * rate.quota


@given(rates, asked, st.integers(1, 50))
def test_the_wait_is_exact(rate: Rate, calls: list[tuple[int, int]], units: int) -> None:
    units, now, tat = min(units, rate.quota), 1, 0
    for pause, used in calls:
        now += pause
        tat = gcra.spend(rate, tat, now, used)
    wait = gcra.wait_ns(rate, tat, now, units)
    assert gcra.wait_ns(rate, tat, now + wait, units) == 0
    assert wait == 0 or gcra.wait_ns(rate, tat, now + wait - 1, units) > 0
    assert (gcra.room(rate, tat, now) >= units) == (wait == 0)


@given(rates, asked, st.integers(1, 50))
def test_what_is_given_back_at_once_was_never_taken(rate: Rate, calls: list[tuple[int, int]], units: int) -> None:
    now, tat = 1, 0
    for pause, used in calls:
        now += pause
        tat = gcra.spend(rate, tat, now, used)
    after = gcra.give_back(rate, gcra.spend(rate, tat, now, units), units)
    assert gcra.level_ns(after, now) == gcra.level_ns(tat, now)


@given(st.integers(1, 40), st.lists(st.integers(1, 5), min_size=1, max_size=80))
def test_a_burst_is_cut_where_another_implementation_cuts_it(quota: int, burst: list[int]) -> None:
    rate, tat = Rate(quota, gcra.DAY_NS), 0
    oracle = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=per_duration(dt.timedelta(days=1), limit=quota, burst=quota),
        store=store.MemoryStore(),
    )
    for units in burst:
        ours = gcra.room(rate, tat, 1) >= units
        if ours:
            tat = gcra.spend(rate, tat, 1, units)
        assert oracle.limit("key", units).limited == (not ours)
