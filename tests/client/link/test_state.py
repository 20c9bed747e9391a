"""When a network is taken for gone."""

from __future__ import annotations

import time

from airserve.client.link.estimate import Exchange
from airserve.client.link.state import NetworkState


def test_late_answers_are_answers_and_silence_is_not() -> None:
    state = NetworkState()
    for number in range(8):
        state.link.add(Exchange(at=float(number), up_bytes=500, down_bytes=300, head_s=0.02, body_s=0.0))
    state.misses = 1
    assert not state.is_suspect
    state.misses = 2
    state.quiet_since = time.monotonic()
    assert not state.is_suspect, "something came a moment ago"
    state.quiet_since = time.monotonic() - 1.0
    assert state.is_suspect


def test_an_answer_clears_the_network_and_gives_new_hope() -> None:
    state = NetworkState()
    for _ in range(30):
        state.odds.learn("call", in_time=False)
    state.unreachable = True
    assert state.is_suspect
    state.answered(time.monotonic())
    assert not state.is_suspect
    assert state.odds.of("call") >= 0.5
