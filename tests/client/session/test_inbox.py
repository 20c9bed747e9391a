"""Answers wait for their reader, within bounds."""

from __future__ import annotations

import pytest

from airserve.client.session.inbox import ANSWERS_KEPT, Inbox
from airserve.core.errors import BudgetExhaustedError
from tests.client.session.frames_for_tests import answer


def test_answers_nobody_reads_give_way_and_are_counted() -> None:
    inbox = Inbox()
    for number in range(ANSWERS_KEPT + 10):
        inbox.put(answer(number))
    assert inbox.unread == 10
    read = []
    while (each := inbox.take()) is not None:
        read.append(each.frame)
    assert read == list(range(10, ANSWERS_KEPT + 10))


def test_what_ended_the_session_is_raised_once_after_the_answers_before_it() -> None:
    inbox = Inbox()
    inbox.put(answer(1))
    inbox.put(BudgetExhaustedError("nothing is left"))
    assert inbox.over
    first = inbox.take()
    assert first is not None
    assert first.frame == 1
    with pytest.raises(BudgetExhaustedError):
        inbox.take()
    assert inbox.take() is None
