from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from airserve.accounts import Principal
from airserve.accounts.account import Account, BudgetOver
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod, Limits, Terms
from airserve.core.errors import BudgetExhaustedError, ConflictError, RateLimitedError
from airserve.metering import leases, nodes
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal
from airserve.metering.leases import Window
from airserve.metering.ledger import fold, last_epoch
from airserve.server.treasurer import Treasurer
from airserve.serving.admission import Admission, Admissions
from airserve.serving.bounds import Most
from airserve.storage import Database, tables
from airserve.storage.database import FILE_NAME

LIMIT = 1_000
WINDOW = Window("tenant", "ten", "total", 0)
FAR_NS = 1 << 62


def principal(limit: int = LIMIT, mode: BudgetMode = BudgetMode.STRICT, limits: Limits | None = None) -> Principal:
    budget = BudgetOver("tenant", "ten", Budget(limit, BudgetPeriod.TOTAL, mode))
    terms = Terms(limits=limits) if limits else Terms()
    return Principal("key", "ten", None, "prj", account=Account("plan", terms, () if limits else (budget,)))


class Node:
    """One server's share of the money: journal, admissions, treasurer, all of them real; its rounds come when told."""

    def __init__(self, database: Database, folder: Path, name: str) -> None:
        self.database, self.folder, self.name = database, folder / name, name
        self.start()

    def start(self) -> None:
        self.journal = Journal.open(
            self.folder, self.name, after_epoch=last_epoch(self.database, self.name), durability="os"
        )
        fold(self.database, self.folder)
        self.admissions = Admissions()
        self.treasurer = Treasurer(self.database, self.admissions, self.name, self.journal.epoch)
        self.treasurer.free(self.journal.epoch)
        self.open: list[Admission] = []

    def admit(self, who: Principal, nano: int) -> Admission:
        """At once or not at all."""
        standing = self.admissions.standing(who)
        assert standing is not None
        return asyncio.run(self.admissions.admit(standing, Most(nano, 0, 0), 0))

    def supplied(self, who: Principal, nano: int) -> Admission | None:
        """After the round that the call would wait for."""

        async def admit() -> Admission | None:
            standing = self.admissions.standing(who)
            assert standing is not None
            call = asyncio.create_task(self.admissions.admit(standing, Most(nano, 0, 0), FAR_NS))
            for _ in range(3):
                await asyncio.sleep(0)
                self.treasurer.round()
                self.admissions.supplied()
                await asyncio.sleep(0)
                if call.done():
                    return None if call.exception() else call.result()
            call.cancel()
            return None

        return asyncio.run(admit())

    def crash(self) -> None:
        """Without a word; what it has written stays."""
        self.journal.close()


def charge(node: Node, admission: Admission, nano: int, call_id: str) -> None:
    record = UsageEvent(
        call_id, "ten", "key", "m", 1, 0, Outcome.OK, 1, 0, 0, 0, nano, "EUR", admission.admitted_ns,
        project_id="prj", cap_nano=admission.cap_nano,
    )  # fmt: skip
    admission.settle(record, node.journal.append([record]))


def spent_and_leased(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        seen = leases.peek(connection, [WINDOW], "nobody", 1).get(WINDOW)
        total = connection.scalar(
            sa.select(sa.func.sum(tables.leases.c.left_nano)).where(
                *(tables.leases.c[name] == value for name, value in WINDOW._asdict().items())
            )
        )
    assert (seen.leased_nano if seen else 0) == (total or 0)
    return (seen.spent_nano, seen.leased_nano) if seen else (0, 0)


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Node:
    return Node(database, tmp_path / "journals", "a")


def test_a_node_alone_spends_a_budget_to_the_last_nano_and_not_one_more(database: Database, node: Node) -> None:
    who = principal()
    for number in range(10):
        admission = node.supplied(who, 100)
        assert admission is not None
        assert admission.cap_nano == 100
        charge(node, admission, 100, str(number))
    assert node.supplied(who, 1) is None
    fold(database, node.folder)
    node.treasurer.round()
    assert spent_and_leased(database) == (LIMIT, 0)
    assert node.supplied(who, 1) is None


def test_what_a_call_does_not_use_is_there_for_the_next(database: Database, node: Node) -> None:
    who = principal()
    first = node.supplied(who, LIMIT)
    assert first is not None
    with pytest.raises(BudgetExhaustedError, match="budget of this account"):
        node.admit(who, 1)
    charge(node, first, 300, "1")
    assert node.supplied(who, 701) is None
    second = node.supplied(who, 700)
    assert second is not None
    second.release()
    second.release()
    assert node.supplied(who, 700) is not None


def test_a_call_that_is_charged_once_and_answered_twice_leaks_no_credit(database: Database, node: Node) -> None:
    who = principal()
    for _ in range(2):
        admission = node.supplied(who, 400)
        assert admission is not None
        charge(node, admission, 400, "the same call")
    fold(database, node.folder)
    time.sleep(0.3)
    node.treasurer.round()
    assert node.supplied(who, 601) is None
    assert node.supplied(who, 600) is not None


def test_credit_of_a_crashed_start_is_free_once_its_journal_is_folded(database: Database, node: Node) -> None:
    who = principal()
    admission = node.supplied(who, 600)
    assert admission is not None
    charge(node, admission, 250, "1")
    node.crash()
    other = Node(database, node.folder.parent, "b")
    # The journal of the first may hold more than anybody knows.
    assert other.supplied(who, 500) is None
    node.start()
    assert spent_and_leased(database)[0] == 250
    assert other.supplied(who, 750) is not None


def test_a_node_that_does_not_come_back_is_retired_by_hand(database: Database, node: Node) -> None:
    assert node.supplied(principal(), 600) is not None
    with pytest.raises(ConflictError, match="alive"):
        nodes.retire(database, "a", time.time_ns())
    assert spent_and_leased(database)[1] >= 600
    assert nodes.retire(database, "a", time.time_ns() + nodes.ALIVE_NS) >= 600
    assert spent_and_leased(database) == (0, 0)
    assert nodes.list_nodes(database) == []


def test_a_budget_that_only_warns_lets_calls_through_and_says_so(database: Database, node: Node) -> None:
    who = principal(mode=BudgetMode.SOFT)
    standing = node.admissions.standing(who)
    assert standing is not None
    for number in range(3):
        charge(node, node.admit(who, 600), 600, str(number))
    assert [line.soft_nano for line in node.admissions.passed(standing)] == [LIMIT]
    # The third was let in although the first two had used it up.
    assert node.admissions.warned == 1


def test_a_soft_budget_below_a_hard_one_warns_before_it_stops(database: Database, node: Node) -> None:
    budgets = tuple(
        BudgetOver("tenant", "ten", Budget(limit, BudgetPeriod.TOTAL, mode))
        for limit, mode in ((500, BudgetMode.SOFT), (1_000, BudgetMode.HARD))
    )
    who = Principal("key", "ten", None, account=Account(None, Terms(), budgets))
    standing = node.admissions.standing(who)
    assert standing is not None
    admission = node.supplied(who, 600)
    assert admission is not None
    assert admission.cap_nano == 0
    charge(node, admission, 600, "1")
    assert node.admissions.passed(standing)
    assert node.supplied(who, 500) is None


def test_two_nodes_share_a_rate_and_give_back_what_they_do_not_need(database: Database, tmp_path: Path) -> None:
    who = principal(limits=Limits(calls_per_day=100))
    first, second = (Node(database, tmp_path / "journals", name) for name in "ab")
    for each in (first, second):
        each.treasurer.round()
        each.treasurer.beat()
        assert each.admissions.nodes == 2 or each is first
    first.treasurer.beat()
    admitted = {"a": 0, "b": 0}
    for turn in range(300):
        each = first if turn % 3 else second
        if each.supplied(who, 0) is not None:
            admitted[each.name] += 1
    # Each holds at most one part of a quarter of the rest in reserve, which shrinks as the rest does.
    assert 98 <= sum(admitted.values()) <= 100
    assert min(admitted.values()) > 20
    with pytest.raises(RateLimitedError, match="100 calls a day"):
        first.admit(who, 0)


class Money(RuleBasedStateMachine):
    """Two nodes spend one strict budget; either may crash at any moment, and is started again at another."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="airserve-money-"))
        shutil.copyfile(self.template, self.folder / FILE_NAME)
        self.database = Database.open(self.folder)
        self.nodes = {name: Node(self.database, self.folder / "journals", name) for name in "ab"}
        self.down: set[str] = set()
        self.who = principal()
        self.ids = count()
        self.tried: dict[str, set[int]] = {}
        """What each call was charged at each try; the ledger has the one that it is told of first."""

    def up(self, name: str) -> Node | None:
        return None if name in self.down else self.nodes[name]

    @rule(name=st.sampled_from("ab"), nano=st.integers(1, 400), waits=st.booleans())
    def admit(self, name: str, nano: int, waits: bool) -> None:
        node = self.up(name)
        if node is None:
            return
        try:
            admission = node.supplied(self.who, nano) if waits else node.admit(self.who, nano)
        except BudgetExhaustedError:
            return
        if admission is not None:
            node.open.append(admission)

    @rule(name=st.sampled_from("ab"), part=st.integers(0, 4), again=st.booleans())
    def answer(self, name: str, part: int, again: bool) -> None:
        node = self.up(name)
        if node is None or not node.open:
            return
        admission = node.open.pop()
        nano = admission.cap_nano * part // 4
        call_id = next(iter(self.tried), None) if again else None
        if call_id is None:
            call_id = str(next(self.ids))
        self.tried.setdefault(call_id, set()).add(nano)
        charge(node, admission, nano, call_id)

    @rule(name=st.sampled_from("ab"))
    def let_go(self, name: str) -> None:
        node = self.up(name)
        if node is not None and node.open:
            node.open.pop().release()

    @rule(name=st.sampled_from("ab"))
    def go_round(self, name: str) -> None:
        node = self.up(name)
        if node is not None:
            node.treasurer.beat()
            node.treasurer.round()

    @rule(name=st.sampled_from("ab"))
    def fold(self, name: str) -> None:
        fold(self.database, self.nodes[name].folder)

    @precondition(lambda self: len(self.down) < 2)
    @rule(name=st.sampled_from("ab"))
    def crash(self, name: str) -> None:
        if name not in self.down:
            self.nodes[name].crash()
            self.down.add(name)

    @precondition(lambda self: self.down)
    @rule()
    def start(self) -> None:
        self.nodes[self.down.pop()].start()

    @invariant()
    def the_limit_holds(self) -> None:
        spent, leased = spent_and_leased(self.database)
        assert spent + leased <= LIMIT
        # Whatever is on the way to the ledger is covered by a lease, and so is whatever is set aside.
        for node in self.nodes.values():
            node.admissions.let_go()
        held = sum(
            purse.held_nano
            for name, node in self.nodes.items()
            if name not in self.down
            for purse in node.admissions.purses.values()
        )
        in_ledger = self.in_ledger()
        to_come = sum(max(amounts) for call_id, amounts in self.tried.items() if call_id not in in_ledger)
        assert sum(in_ledger.values()) + to_come + held <= LIMIT
        for node in self.nodes.values():
            for purse in node.admissions.purses.values():
                assert purse.held_nano == sum(purse.holds.values())

    def teardown(self) -> None:
        try:
            self.all_that_is_left_can_be_had_once_idle()
        finally:
            for name, node in self.nodes.items():
                if name not in self.down:
                    node.crash()
            self.database.close()
            shutil.rmtree(self.folder)

    def all_that_is_left_can_be_had_once_idle(self) -> None:
        while self.down:
            self.start()
        for node in self.nodes.values():
            while node.open:
                node.open.pop().release()
            fold(self.database, node.folder)
        first, second = self.nodes.values()
        in_ledger = self.in_ledger()
        assert in_ledger.keys() == self.tried.keys()
        charged = sum(in_ledger.values())
        left = LIMIT - charged
        # Idle is longer than a node is taken for alive by its last beat, and than a refusal rests on what was seen.
        for each in (first, second, first):
            each.treasurer.beat()
        for purse in first.admissions.purses.values():
            purse.looked_ns = -FAR_NS
        admission = None
        for _ in range(3):
            # The one asks for all; the other hears of it within its next rounds and gives back what lies idle.
            admission = admission or (first.supplied(self.who, left) if left else None)
            for purse in second.admissions.purses.values():
                purse.looked_ns = -FAR_NS
            second.treasurer.round()
        assert admission is not None or not left
        assert spent_and_leased(self.database)[0] == charged

    def in_ledger(self) -> dict[str, int]:
        """What the ledger has of each call: once, at the amount of one of its tries."""
        events = tables.usage_events.c
        with self.database.read() as connection:
            rows = connection.execute(sa.select(events.id, events.amount_nano)).all()
        amounts = {id_.removeprefix("ten/"): nano for id_, nano in rows}
        assert all(nano in self.tried[call_id] for call_id, nano in amounts.items())
        return amounts


def test_whatever_happens_no_nano_is_overspent_and_none_is_lost(sqlite_file: Path) -> None:
    Money.template = sqlite_file
    machine = settings(max_examples=15, stateful_step_count=25, deadline=None)
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Money, settings=machine)
