from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import OverloadedError, SealedReplayError
from airserve.engines.sealed_replay import ReplayCache

CALLS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 10)), max_size=40)


def test_a_call_is_taken_once_and_forgotten_when_its_time_is_up() -> None:
    cache = ReplayCache(10)
    cache.take(b"a", 100, 0)
    for now in (0, 99, 100):
        with pytest.raises(SealedReplayError):
            cache.take(b"a", 100, now)
    cache.take(b"b", 200, 101)
    assert len(cache) == 1


def test_a_full_cache_refuses_what_is_new_and_still_knows_what_is_old() -> None:
    cache = ReplayCache(2)
    cache.take(b"a", 100, 0)
    cache.take(b"b", 50, 0)
    with pytest.raises(OverloadedError):
        cache.take(b"c", 100, 0)
    with pytest.raises(SealedReplayError):
        cache.take(b"b", 50, 0)
    cache.take(b"c", 100, 51)
    cache.clear()
    cache.take(b"a", 100, 60)


@given(CALLS)
def test_no_call_is_ever_taken_twice_within_its_time(calls: list[tuple[int, int, int]]) -> None:
    cache, now, taken = ReplayCache(4), 0, dict[bytes, int]()
    for number, lasts, passed in calls:
        now += passed
        enc = bytes([number])
        alive = {each for each, end in taken.items() if end >= now}
        try:
            cache.take(enc, now + lasts, now)
        except SealedReplayError:
            assert enc in alive
        except OverloadedError:
            assert enc not in alive
            assert len(alive) == 4
        else:
            assert enc not in alive
            taken[enc] = now + lasts
        assert len(cache) <= 4
