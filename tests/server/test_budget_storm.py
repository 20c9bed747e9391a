"""A thousand calls at once on a budget for 64, with cancels, failures and a crash amid them: nothing is lost."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from pathlib import Path

import pytest

from airserve.core.errors import BudgetExhaustedError
from airserve.metering.ledger import fold
from airserve.serving.bounds import Most
from airserve.storage import Database
from tests.server.test_treasurer import FAR_NS, Node, charge, principal, spent_and_leased

AFFORDABLE, PRICE = 64, 100
LIMIT = AFFORDABLE * PRICE


async def call(node: Node, number: int, seconds: float, fate: str, charged: list[int]) -> str:
    who = principal(LIMIT)
    standing = node.admissions.standing(who)
    assert standing is not None
    try:
        admission = await node.admissions.admit(standing, Most(PRICE, 0, 0), FAR_NS)
    except BudgetExhaustedError:
        return "refused"
    try:
        await asyncio.sleep(seconds)
        if fate == "fails":
            return "failed"
        charge(node, admission, PRICE, f"{node.journal.epoch}-{number}")
        charged.append(PRICE)
        return "answered"
    finally:
        admission.release()


async def storm(node: Node, chance: random.Random, first: int, size: int, charged: list[int]) -> list[str]:
    tasks = []
    for number in range(first, first + size):
        fate = chance.choice(["answers", "answers", "answers", "fails"])
        task = asyncio.create_task(call(node, number, chance.uniform(0, 0.05), fate, charged))
        if chance.random() < 0.15:
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.05), task.cancel)
        tasks.append(task)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [str(type(each).__name__) if isinstance(each, BaseException) else each for each in ended]


def free_of_holds(node: Node) -> bool:
    node.admissions.let_go()
    return all(
        not purse.holds and not purse.held_nano and not purse.wanted for purse in node.admissions.purses.values()
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_calls_at_once_spend_what_is_there_and_not_a_nano_more(
    database: Database, tmp_path: Path, seed: int
) -> None:
    chance, charged = random.Random(seed), list[int]()
    node = Node(database, tmp_path / "journals", "a")
    node.treasurer.start()
    # Half of them, then the process dies with calls open and credit leased; it comes back for the rest.
    outcomes = asyncio.run(storm(node, chance, 0, 500, charged))
    assert free_of_holds(node)
    asyncio.run(open_and_leave(node))
    node.crash()
    node.treasurer.halt()
    node.start()
    node.treasurer.start()
    outcomes += asyncio.run(storm(node, chance, 500, 500, charged))
    assert free_of_holds(node)
    assert {"answered", "refused", "CancelledError"} <= set(outcomes)
    assert sum(charged) <= LIMIT
    # Idle again: all that is left can be had, one call after another, and nothing beyond it.
    fold(database, node.folder)
    numbers = count(1000)
    while sum(charged) < LIMIT:
        assert asyncio.run(call(node, next(numbers), 0, "answers", charged)) == "answered"
    assert asyncio.run(call(node, next(numbers), 0, "answers", charged)) == "refused"
    node.treasurer.stop()
    fold(database, node.folder)
    assert spent_and_leased(database) == (LIMIT, 0)
    node.journal.close()


async def open_and_leave(node: Node) -> None:
    who = principal(LIMIT)
    standing = node.admissions.standing(who)
    assert standing is not None
    for _ in range(3):
        try:
            await node.admissions.admit(standing, Most(PRICE, 0, 0), FAR_NS)
        except BudgetExhaustedError:
            return
