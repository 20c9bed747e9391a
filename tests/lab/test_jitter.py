from __future__ import annotations

import statistics

import pytest

from airserve.lab.jitter import Jitter


def test_it_has_its_standard_deviation_and_is_never_negative() -> None:
    jitter = Jitter(0.004, each_packet=True, seed=1)
    delays = [jitter.delay(0.0) for _ in range(20_000)]
    assert min(delays) >= 0
    assert statistics.stdev(delays) == pytest.approx(0.004, rel=0.03)
    assert statistics.fmean(delays) == pytest.approx(0.004 * 1.3236, rel=0.03)


def test_what_leaves_in_one_slot_is_late_together() -> None:
    jitter = Jitter(0.004, each_packet=False, seed=1)
    assert jitter.delay(0.0101) == jitter.delay(0.0108) != jitter.delay(0.0111)
