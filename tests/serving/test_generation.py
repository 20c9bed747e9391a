from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.core.call import Call
from airserve.core.errors import (
    AirserveError,
    DeadlineExceededError,
    InvalidInputError,
    ModelFailedError,
    OverloadedError,
)
from airserve.core.generation import Generation, Piece, TokenCounts
from airserve.metering import Journal, Price, fold
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import Manifest, Tensor
from airserve.serving.generation import GenerationDeployment
from airserve.serving.stream import MAX_UNREAD
from airserve.storage import Database, tables
from tests.serving.words import WordEngine, prompt

PRICE = Price(7, "words", 1_000, 0, "EUR", 2_000_000, 1_000_000, 5_000_000)
"""1000 a call; 2 an input token, 1 a cached one, 5 an output token."""
FOUR = "one two three four"
MINUTE_NS = 60 * 10**9


class Place:
    """A state folder with a journal, and deployments that write to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(folder)
        self.journal = Journal.open(folder / "journal", "n")
        self.deployments: list[GenerationDeployment] = []
        self._calls = 0

    def deploy(self, engine: WordEngine, *, capacity: int = 64) -> GenerationDeployment:
        text = (Tensor("text", "BYTES", (1,)),)
        manifest = Manifest(name="words", engine="llama", inputs=text, outputs=text)
        spec = DeploymentSpec("words", 1, "address", self.folder, manifest, ("prod",))
        self.deployments.append(GenerationDeployment(spec, engine, self.journal, queue_capacity=capacity))
        return self.deployments[-1]

    def call(self, *, tenant: str = "ten_a", within_ns: int = MINUTE_NS) -> Call:
        self._calls += 1
        deadline_ns = time.monotonic_ns() + within_ns
        return Call(f"call-{self._calls}", "words", {}, 1, deadline_ns, tenant, "key", bytes_in=len(FOUR))

    def ledger(self) -> list[dict[str, Any]]:
        fold(self.database, self.folder / "journal")
        with self.database.read() as connection:
            query = sa.select(tables.usage_events).order_by(tables.usage_events.c.lsn)
            return [dict(row._mapping) for row in connection.execute(query)]

    def ended(self) -> list[tuple[str, int, int]]:
        """Outcome, output tokens and amount of every call so far."""
        return [(row["outcome"], row["output_tokens"], row["amount_nano"]) for row in self.ledger()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for deployment in place.deployments:
        if not deployment.generator.closed:  # type: ignore[attr-defined]
            deployment.generator.say(100_000)  # type: ignore[attr-defined]
            deployment.close()
    with suppress(AirserveError):
        place.journal.close()
    place.database.close()


async def text(pieces: AsyncGenerator[Piece, None]) -> str:
    said = ""
    async with aclosing(pieces):
        async for piece in pieces:
            said += "".join(choice["text"] for choice in piece.choices)
    return said


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_the_pieces_come_in_order_and_the_usage_is_recorded_before_the_final_one(place: Place) -> None:
    deployment = place.deploy(WordEngine())
    seen = []
    async for piece in deployment.generate(place.call(), prompt(FOUR), PRICE):
        seen.append((piece.choices[0]["text"], piece.tokens.output, piece.final))
        if piece.final:
            (row,) = place.ledger()
    assert seen == [
        ("one ", 1, False), ("two ", 2, False), ("three ", 3, False), ("four ", 4, False), ("", 4, True),
    ]  # fmt: skip
    assert row["outcome"] == "ok"
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (4, 2, 4)
    assert row["amount_nano"] == 1_000 + 2 * 2 + 2 * 1 + 4 * 5
    assert (row["price_id"], row["bytes_in"], row["bytes_out"]) == (7, len(FOUR), len(FOUR) + 1)
    assert row["compute_ns"] > 0
    assert (deployment.statistics.successes, deployment.tokens) == (1, TokenCounts(4, 2, 4))


async def test_a_client_that_goes_frees_the_slot_at_the_next_token_and_pays_for_just_what_was_produced(
    place: Place,
) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    async with aclosing(deployment.generate(place.call(), prompt(FOUR), PRICE)) as pieces:
        engine.say(2)
        await anext(pieces)
        await anext(pieces)
    assert deployment.running == 1
    engine.say()
    await until(lambda: deployment.running == 0)
    await until(lambda: place.ended())
    assert engine.said == 3
    assert place.ended() == [("partial", 3, 2 * 2 + 2 * 1 + 3 * 5)]


async def test_a_task_that_is_cancelled_while_it_waits_for_a_token_frees_its_slot_too(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    reading = asyncio.create_task(text(deployment.generate(place.call(), prompt(FOUR), PRICE)))
    await until(lambda: deployment.running == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    engine.say()
    await until(lambda: deployment.running == 0)
    await until(lambda: place.ended())
    assert engine.said == 1


async def test_a_call_whose_client_goes_while_it_waits_costs_nothing_and_never_starts(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    first = asyncio.create_task(text(deployment.generate(place.call(), prompt("first"), PRICE)))
    await until(lambda: deployment.running == 1)
    second = asyncio.create_task(text(deployment.generate(place.call(), prompt("second"), PRICE)))
    await until(lambda: len(deployment.queue) == 1)
    second.cancel()
    await asyncio.wait([second])
    engine.say()
    assert await first == "first "
    await until(lambda: len(place.ended()) == 2)
    assert ("cancelled", 0, 0) in place.ended()
    assert engine.started == ["first"]


async def test_a_deadline_that_passes_while_the_call_waits_ends_it_at_no_cost(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    first = asyncio.create_task(text(deployment.generate(place.call(), prompt("first"), PRICE)))
    await until(lambda: deployment.running == 1)
    with pytest.raises(DeadlineExceededError):
        await text(deployment.generate(place.call(within_ns=20_000_000), prompt("second"), PRICE))
    engine.say()
    await first
    await until(lambda: len(place.ended()) == 2)
    assert ("late", 0, 0) in place.ended()
    assert engine.started == ["first"]


async def test_a_deadline_that_passes_while_it_generates_ends_it_and_charges_the_tokens(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    engine.say(2)
    heard = 0
    with pytest.raises(DeadlineExceededError, match="more time"):
        async for _ in deployment.generate(place.call(within_ns=100_000_000), prompt(FOUR), PRICE):
            heard += 1
    assert heard == 2
    engine.say()
    await until(lambda: place.ended())
    assert place.ended() == [("partial", 3, 2 * 2 + 2 * 1 + 3 * 5)]
    assert deployment.statistics.failures == {"deadline_exceeded": 1}


async def test_a_deadline_that_has_passed_already_is_refused_before_the_first_piece(place: Place) -> None:
    deployment = place.deploy(WordEngine())
    with pytest.raises(DeadlineExceededError, match="had passed"):
        await anext(deployment.generate(place.call(within_ns=-1), prompt(FOUR), PRICE))
    assert place.ended() == [("refused", 0, 0)]


@pytest.mark.parametrize(
    ("failure", "seen"),
    [(InvalidInputError("too long"), InvalidInputError), (ZeroDivisionError("secret"), ModelFailedError)],
)
async def test_a_failure_before_the_first_token_costs_nothing_and_after_it_just_the_tokens(
    place: Place, failure: Exception, seen: type[AirserveError]
) -> None:
    deployment = place.deploy(WordEngine())
    for fails_at in (1, 3):
        with pytest.raises(seen) as raised:
            await text(deployment.generate(place.call(), prompt(FOUR, fails_at=fails_at, failure=failure), PRICE))
        assert "secret" not in str(raised.value)
    assert place.ended() == [("failed", 0, 0), ("partial", 2, 2 * 2 + 2 * 1 + 2 * 5)]
    assert await text(deployment.generate(place.call(), prompt(FOUR), PRICE)) == f"{FOUR} "


async def test_an_engine_that_ends_without_a_final_piece_has_failed(place: Place) -> None:
    class Silent(WordEngine):
        def generate(self, generation: Generation, emit: Any) -> None:
            return

    with pytest.raises(ModelFailedError, match="before its answer was whole"):
        await text(place.deploy(Silent()).generate(place.call(), prompt(FOUR), PRICE))


async def test_what_cannot_be_recorded_gets_no_final_piece(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    reading = asyncio.create_task(text(deployment.generate(place.call(), prompt(FOUR), PRICE)))
    await until(lambda: deployment.running == 1)
    place.journal.close()
    engine.say(4)
    with pytest.raises(OverloadedError, match="recorded"):
        await reading
    assert deployment.statistics.unrecorded == 1


async def test_a_full_queue_refuses_until_one_of_those_that_wait_has_gone(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine, capacity=2)
    first = asyncio.create_task(text(deployment.generate(place.call(), prompt("first"), PRICE)))
    await until(lambda: deployment.running == 1)
    waiting = [asyncio.create_task(text(deployment.generate(place.call(), prompt(name), PRICE))) for name in "bc"]
    await until(lambda: len(deployment.queue) == 2)
    with pytest.raises(OverloadedError, match="2 calls wait"):
        await text(deployment.generate(place.call(), prompt("d"), PRICE))
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    last = asyncio.create_task(text(deployment.generate(place.call(), prompt("e"), PRICE)))
    await asyncio.sleep(0)
    engine.say(3)
    assert [await first, await waiting[1], await last] == ["first ", "c ", "e "]
    outcomes = [outcome for outcome, _, _ in place.ended()]
    assert sorted(outcomes) == ["cancelled", "ok", "ok", "ok", "refused"]


async def test_tenants_take_turns_and_within_one_the_earliest_deadline_goes_first(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    tasks = [asyncio.create_task(text(deployment.generate(place.call(), prompt("running"), PRICE)))]
    await until(lambda: deployment.running == 1)
    for name, tenant, minutes in (("a3", "a", 3), ("a1", "a", 1), ("a2", "a", 2), ("b9", "b", 9)):
        call = place.call(tenant=tenant, within_ns=minutes * MINUTE_NS)
        tasks.append(asyncio.create_task(text(deployment.generate(call, prompt(name), PRICE))))
        await until(lambda: len(deployment.queue) == len(tasks) - 1)
    engine.say(5)
    await asyncio.gather(*tasks)
    assert engine.started == ["running", "a1", "b9", "a2", "a3"]


async def test_a_reader_that_is_too_slow_holds_the_engine_and_can_still_go(place: Place) -> None:
    engine = WordEngine()
    deployment = place.deploy(engine)
    async with aclosing(deployment.generate(place.call(), prompt("word " * 5_000), PRICE)) as pieces:
        await anext(pieces)
        await until(lambda: engine.said >= MAX_UNREAD)
        await asyncio.sleep(0.05)
        assert engine.said <= MAX_UNREAD + 2
        for _ in range(1_000):
            await anext(pieces)
        assert engine.said <= 1_000 + MAX_UNREAD + 2
    await until(lambda: deployment.running == 0)
    await until(lambda: place.ended())
    ((outcome, output, _),) = place.ended()
    assert (outcome, output) == ("partial", engine.said)


async def test_a_reader_that_is_too_slow_is_stopped_by_the_deadline(place: Place) -> None:
    deployment = place.deploy(WordEngine())
    async with aclosing(
        deployment.generate(place.call(within_ns=50_000_000), prompt("word " * 5_000), PRICE)
    ) as pieces:
        await anext(pieces)
        await until(lambda: deployment.running == 0)
        with pytest.raises(DeadlineExceededError):
            await anext(pieces)


async def test_as_many_run_at_once_as_there_are_slots_and_their_shares_add_up_to_the_time_that_passed(
    place: Place,
) -> None:
    engine = WordEngine(3, hold=True)
    deployment = place.deploy(engine)
    begin = time.monotonic_ns()
    tasks = [asyncio.create_task(text(deployment.generate(place.call(), prompt(FOUR), PRICE))) for _ in range(5)]
    await until(lambda: deployment.running == 3)
    assert len(deployment.queue) == 2
    engine.say(20)
    assert await asyncio.gather(*tasks) == [f"{FOUR} "] * 5
    shares = sum(row["compute_ns"] for row in place.ledger())
    assert 0 < shares <= time.monotonic_ns() - begin


async def test_closing_lets_accepted_generations_finish_and_then_refuses(place: Place) -> None:
    engine = WordEngine(hold=True)
    deployment = place.deploy(engine)
    tasks = [asyncio.create_task(text(deployment.generate(place.call(), prompt(FOUR), PRICE))) for _ in range(2)]
    await until(lambda: deployment.running == 1)
    closing = asyncio.create_task(asyncio.to_thread(deployment.close))
    engine.say(8)
    assert await asyncio.gather(*tasks) == [f"{FOUR} "] * 2
    await closing
    assert engine.closed
    with pytest.raises(OverloadedError):
        await text(deployment.generate(place.call(), prompt(FOUR), PRICE))


async def test_generations_dropped_at_any_moment_leave_no_busy_slot_and_charge_just_the_tokens_produced(
    place: Place,
) -> None:
    engine = WordEngine(4, pause_s=0.0003)
    deployment = place.deploy(engine, capacity=1_000)
    chance = random.Random(7)

    async def drop() -> None:
        takes = chance.randrange(12)
        async with aclosing(deployment.generate(place.call(), prompt("word " * 10), PRICE)) as pieces:
            for _ in range(takes):
                if await anext(pieces, None) is None:
                    return

    begun = [asyncio.create_task(drop()) for _ in range(300)]
    for task in begun[::5]:
        asyncio.get_running_loop().call_later(chance.random() / 50, task.cancel)
    await asyncio.wait(begun)
    await until(lambda: deployment.running == 0 and len(deployment.queue) == 0)
    # A call that was cancelled before its first step was never made.
    await until(lambda: sum(row["output_tokens"] for row in place.ledger()) == engine.said)
    rows = place.ledger()
    assert deployment.tokens.output == engine.said
    for row in rows:
        tokens = 5 * row["output_tokens"] + (5 * 2 + 5 * 1 if row["output_tokens"] else 0)
        assert row["amount_nano"] == tokens + (1_000 if row["outcome"] == "ok" else 0)
    assert {"ok", "partial"} <= {row["outcome"] for row in rows}
