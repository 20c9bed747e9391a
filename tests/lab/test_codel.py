from __future__ import annotations

from itertools import pairwise

from airserve.lab.codel import INTERVAL_S, TARGET_S, CoDel

MANY = 100_000


def test_a_short_wait_and_a_short_queue_are_never_touched() -> None:
    codel = CoDel(1400)
    assert not any(codel.drops(TARGET_S * 0.99, MANY, now / 1000) for now in range(2000))
    assert not any(codel.drops(1.0, 1400, 2 + now / 1000) for now in range(2000))


def test_drops_begin_after_an_interval_above_the_target_and_come_closer() -> None:
    codel = CoDel(1400)
    dropped = [now / 1000 for now in range(3000) if codel.drops(0.05, MANY, now / 1000)]
    assert abs(dropped[0] - INTERVAL_S) < 0.002
    gaps = [later - earlier for earlier, later in pairwise(dropped)]
    # The control law: the n-th drop comes INTERVAL/sqrt(n) after the one before it.
    for number, gap in enumerate(gaps[:10], start=1):
        assert abs(gap - INTERVAL_S / number**0.5) < 0.003


def test_it_stops_when_the_queue_is_short_again() -> None:
    codel = CoDel(1400)
    assert any(codel.drops(0.05, MANY, now / 1000) for now in range(500))
    codel.drops(0.001, MANY, 0.5)
    assert not any(codel.drops(0.05, MANY, 0.501 + now / 1000) for now in range(99))
