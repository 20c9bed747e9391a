from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airserve.core.call import Reply
from airserve.serving.replays import Replays, Running, outcome

MEGABYTE, SECOND = 1_000_000, 1_000_000_000


def reply(value: float, elements: int = 1) -> Reply:
    return Reply("m", "1", {"y": np.full(elements, value, np.float32)})


class Attempts(RuleBasedStateMachine):
    """Any order of attempts at two calls of two tenants, against what is to be."""

    def __init__(self) -> None:
        super().__init__()
        self.replays = Replays(MEGABYTE, 10)
        self.now = self.made = 0
        self.running: set[tuple[str, str]] = set()
        self.known: dict[tuple[str, str], tuple[float, int]] = {}
        self.told: list[tuple[tuple[str, str], Reply | None]] = []
        self.waiting: list[tuple[str, str]] = []

    calls = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))

    @rule(call=calls)
    def attempt(self, call: tuple[str, str]) -> None:
        found = self.replays.begin(*call, self.now)
        value, until = self.known.get(call, (0.0, -1))
        if call in self.running:
            assert isinstance(found, Running)
            assert self.replays.wait(found, lambda given: self.told.append((call, given)))
            self.waiting.append(call)
        elif self.now < until:
            assert isinstance(found, Reply)
            assert found.outputs["y"].tolist() == [value]
        else:
            assert found is None
            self.running.add(call)

    @rule(call=calls, answered=st.booleans())
    def end(self, call: tuple[str, str], answered: bool) -> None:
        if call not in self.running:
            return
        self.made += 1
        self.running.remove(call)
        self.replays.end(*call, reply(self.made) if answered else None, self.now)
        if answered:
            self.known[call] = float(self.made), self.now + 10
        expected = [each for each in self.waiting if each == call]
        self.waiting = [each for each in self.waiting if each != call]
        assert [each for each, _ in self.told] == expected
        assert all((given is not None) == answered for _, given in self.told)
        self.told.clear()

    @rule(later=st.integers(0, 12))
    def pass_time(self, later: int) -> None:
        self.now += later

    @invariant()
    def nobody_is_told_of_what_still_runs(self) -> None:
        assert self.told == []


TestAttempts = Attempts.TestCase


def test_a_large_answer_reaches_those_who_wait_and_is_not_kept() -> None:
    replays = Replays(MEGABYTE, SECOND)
    told: list[Reply | None] = []
    assert replays.begin("t", "c", 0) is None
    running = replays.begin("t", "c", 0)
    assert isinstance(running, Running)
    replays.wait(running, told.append)
    replays.end("t", "c", reply(1, elements=MEGABYTE), 0)
    assert [len(each.outputs["y"]) for each in told if each is not None] == [MEGABYTE]
    assert replays.begin("t", "c", 0) is None


def test_an_answer_is_kept_apart_from_its_batch_and_cannot_be_changed() -> None:
    replays, batch = Replays(MEGABYTE, SECOND), np.arange(6, dtype=np.float32)
    replays.begin("t", "c", 0)
    replays.end("t", "c", Reply("m", "1", {"y": batch[2:4]}), 0)
    batch[:] = 9
    found = replays.begin("t", "c", 0)
    assert isinstance(found, Reply)
    assert found.outputs["y"].tolist() == [2, 3]
    assert not found.outputs["y"].flags.writeable


async def test_who_waits_on_another_event_loop_is_woken_there() -> None:
    replays = Replays(MEGABYTE, SECOND)
    assert replays.begin("t", "c", 0) is None
    running = replays.begin("t", "c", 0)
    assert isinstance(running, Running)
    elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(outcome(replays, running))))
    here = asyncio.create_task(outcome(replays, running))
    while len(running.wakes or ()) < 2:
        await asyncio.sleep(0.001)
    replays.end("t", "c", reply(7), 0)
    assert [found.outputs["y"].tolist() for found in (await here, await elsewhere) if found] == [[7], [7]]
    # Who finds it ended begins again.
    assert await outcome(replays, running) is None
