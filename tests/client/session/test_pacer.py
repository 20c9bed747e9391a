"""What is under way fills the link, and little more."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.client.session.pacer import MOST_FRAMES, REQUEST_BYTES, Pacer
from tests.client.session.frames_for_tests import sent


def played(rate: float, rtt_s: float, size: int, hz: float, seconds: float) -> tuple[list[float], list[float]]:
    """Frames given at `hz`, the newest first, over a link of `rate` bytes a second.

    When each answer came, and how long each frame that left waited at the uplink, seconds.
    """
    pacer, now, free_at, number, next_at = Pacer(), 0.0, 0.0, 0, 0.0
    waiting = False
    under_way: list[tuple[float, int]] = []
    frames = {}
    answers, waits = [], []
    while now < seconds:
        now = min(next_at, under_way[0][0] if under_way else next_at)
        if under_way and under_way[0][0] <= now:
            _, done = heapq.heappop(under_way)
            pacer.answered(frames.pop(done), now, 0.0)
            answers.append(now)
        if next_at <= now:
            waiting, next_at = True, next_at + 1 / hz
        if waiting and pacer.may_send(now):
            number, waiting = number + 1, False
            frames[number] = sent(number, size, now)
            pacer.sent(frames[number], now)
            waits.append(max(0.0, free_at - now))
            free_at = max(free_at, now) + (size + REQUEST_BYTES) / rate
            heapq.heappush(under_way, (free_at + rtt_s, number))
    return answers, waits


@given(
    rate=st.floats(2e4, 1e7),
    rtt_s=st.floats(0.005, 0.3),
    size=st.integers(100, 60_000),
    hz=st.sampled_from([5.0, 20.0]),
)
def test_no_queue_stands_and_the_link_is_used(rate: float, rtt_s: float, size: int, hz: float) -> None:
    seconds = 20.0
    answers, waits = played(rate, rtt_s, size, hz, seconds)
    frame_s = (size + REQUEST_BYTES) / rate
    late = waits[len(waits) // 2 :]
    assert max(late) <= 2.5 * frame_s + 0.06
    carried = min(hz, 1 / frame_s)
    flowing = sum(each > seconds / 2 for each in answers) / (seconds / 2)
    assert flowing >= 0.6 * carried - 0.3


def test_frames_under_way_are_bounded_however_small() -> None:
    pacer = Pacer()
    for number in range(MOST_FRAMES):
        pacer.sent(sent(number, 1), 0.0)
        pacer.answered(sent(number, 1), 0.001, 0.0)
    assert len(pacer.in_flight) == 0
    for number in range(MOST_FRAMES):
        pacer.sent(sent(number, 0), 1.0)
    assert not pacer.may_send(1.0)


def test_nothing_follows_a_frame_that_is_overdue() -> None:
    pacer = Pacer()
    for number in range(20):
        each = sent(number, 500)
        pacer.sent(each, 0.05 * number)
        pacer.answered(each, 0.05 * number + 0.04, 0.0)
    pacer.sent(sent(100, 500), 2.0)
    assert pacer.may_send(2.02)
    assert not pacer.may_send(2.0 + pacer.patience_s + 0.01)


def test_silence_is_noticed_soon_after_an_answer_is_due() -> None:
    pacer = Pacer()
    assert pacer.silent_at() is None
    for number in range(40):
        each = sent(number, 500)
        pacer.sent(each, 0.05 * number)
        pacer.answered(each, 0.05 * number + 0.06, 0.0)
    pacer.sent(sent(100, 500), 3.0)
    silent_at = pacer.silent_at()
    assert silent_at is not None
    assert 3.06 < silent_at < 3.0 + 0.06 + 0.1
    assert pacer.rtt_s == pytest.approx(0.06)


def test_another_connection_begins_anew() -> None:
    pacer = Pacer()
    each = sent(1, 5000)
    pacer.sent(each, 0.0)
    pacer.answered(each, 0.05, 0.0)
    assert pacer.rate > 0
    pacer.sent(sent(2, 5000), 1.0)
    pacer.reset()
    assert (pacer.rate, pacer.in_flight, pacer.silent_at()) == (0.0, {}, None)
