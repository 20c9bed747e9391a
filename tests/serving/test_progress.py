"""No piece of a stream leaves before it is on record, and the records run ahead of it by no more than a step."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from airserve.core.errors import OverloadedError
from airserve.core.generation import Generation
from airserve.metering.event import Outcome, UsageEvent, decode_event
from airserve.metering.journal import Position
from airserve.metering.segments import Mark, frames_after, segments_of
from airserve.serving.progress import STEP
from tests.serving.test_generation import FOUR, PRICE, Place, place, text, until
from tests.serving.words import WordEngine, prompt

__all__ = ["place"]


def recorded(place: Place) -> list[UsageEvent]:
    """What the journal holds."""
    folder = place.folder / "journal"
    _, frames = frames_after(folder, segments_of(folder), Mark())
    return [decode_event(frame.payload) for frame in frames]


async def test_every_piece_is_on_record_before_it_leaves_and_few_records_are_written(place: Place) -> None:
    words = "word " * (3 * STEP)
    async for piece in place.deploy(WordEngine()).generate(place.call(), prompt(words), PRICE):
        newest = recorded(place)[-1]
        assert newest.output_tokens >= piece.tokens.output
    events = recorded(place)
    assert [event.outcome for event in events] == [Outcome.PROGRESS] * 3 + [Outcome.OK]
    assert [event.output_tokens for event in events[:3]] == [1 + STEP, 2 + 2 * STEP, 3 + 3 * STEP]
    assert events[0].amount_nano == (3 * STEP // 2) * 3 + (1 + STEP) * 5
    assert place.ended() == [("ok", 3 * STEP, events[-1].amount_nano)]


async def test_a_record_covers_no_more_tokens_than_were_asked_for(place: Place) -> None:
    asked = Generation(False, {**prompt(FOUR).parameters, "max_tokens": 4, "n": 1})
    await text(place.deploy(WordEngine()).generate(place.call(), asked, PRICE))
    assert [event.output_tokens for event in recorded(place)] == [4, 4]


async def test_what_leaves_as_a_whole_is_recorded_once(place: Place) -> None:
    await text(place.deploy(WordEngine()).generate(place.call(), prompt(FOUR), PRICE, streamed=False))
    assert [event.outcome for event in recorded(place)] == [Outcome.OK]


@pytest.mark.parametrize("after", [0, 1])
async def test_a_stream_that_cannot_be_recorded_ends_before_what_is_not_on_record(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    append, begun = place.journal.append, []

    def full(events: Any) -> Position:
        begun.extend(event for event in events if event.outcome is Outcome.PROGRESS)
        if events[0].outcome is Outcome.PROGRESS and len(begun) > after:
            raise OverloadedError("usage cannot be recorded")
        return append(events)

    monkeypatch.setattr(place.journal, "append", full)
    deployment, seen = place.deploy(WordEngine()), 0
    with pytest.raises(OverloadedError, match="usage cannot be recorded"):
        async for piece in deployment.generate(place.call(), prompt("word " * 40), PRICE):
            seen = piece.tokens.output
    assert seen == after * (1 + STEP)


async def test_a_process_that_dies_amid_a_stream_leaves_a_record_of_all_that_was_received(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    async with aclosing(deployment.generate(place.call(), prompt("word " * 40), PRICE)) as pieces:
        engine.say(20)
        received = [await anext(pieces) for _ in range(20)]
        # As of now, for who finds the journal of a process that was killed.
        newest = recorded(place)[-1]
        assert (newest.outcome, len(received)) == (Outcome.PROGRESS, 20)
        assert 20 <= newest.output_tokens <= 20 + STEP
        assert place.ended() == []
    engine.say(40)
    await until(lambda: deployment.running == 0)
    await asyncio.sleep(0)
    await until(lambda: place.ended())
    assert [outcome for outcome, _, _ in place.ended()] == ["partial"]
