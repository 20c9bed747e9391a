"""The newest frame wins."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from airserve.client.session.mailbox import Mailbox
from tests.client.session.frames_for_tests import frame


@given(st.lists(st.sampled_from(["put", "take", "put back"]), max_size=60))
def test_what_is_taken_is_the_newest_and_every_other_one_is_counted(steps: list[str]) -> None:
    mailbox, number, newest, waiting, held = Mailbox(), 0, None, 0, None
    taken = replaced = 0
    for step in steps:
        if step == "put":
            number += 1
            assert mailbox.put(frame(number)) == (waiting == 0)
            newest, waiting = number, 1
        elif step == "take":
            held = mailbox.take()
            assert (held is None) == (waiting == 0)
            assert held is None or held.number == newest
            taken, waiting = taken + waiting, 0
        elif held is not None:
            kept = mailbox.put_back(held)
            assert kept == (waiting == 0)
            if kept:
                newest, waiting, taken = held.number, 1, taken - 1
            held = None
        replaced += mailbox.replaced()
    assert number == taken + waiting + replaced


def test_threads_that_give_frames_at_once_lose_none_uncounted() -> None:
    mailbox, taken = Mailbox(), 0
    threads = [
        threading.Thread(target=lambda: [mailbox.put(frame(number)) for number in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += mailbox.take() is not None
    for thread in threads:
        thread.join()
    taken += mailbox.take() is not None
    assert taken + mailbox.replaced() == 8000
