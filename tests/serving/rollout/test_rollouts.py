"""Rollouts carried out by real services in this process, over a real catalog."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airserve.core.call import Call
from airserve.core.errors import AirserveError
from airserve.core.generation import Generation
from airserve.engines.options import Upstream
from airserve.models.manifest import Manifest, Tensor
from airserve.models.package import write_package
from airserve.models.rollout.guards import parse_guards
from airserve.models.rollout.rollouts import (
    Plan,
    Rollout,
    decisions,
    load_counts,
    newest_rollout,
    next_step,
    start_rollout,
    stop_rollout,
)
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.rollout.rollouts import Rollouts
from airserve.serving.rollout.routing import place_of
from airserve.serving.rollout.status import Status, status_of
from airserve.serving.service import Service
from airserve.serving.version import Version
from tests.models_for_tests import save_linear, save_linear_failing, save_linear_slowly
from tests.openai_for_tests import WORDS, refusal, upstream_server
from tests.serving.house import FREE, House, ones

TENANTS = [f"ten_{number}" for number in range(40)]
SOON = Plan(steps=(20, 100), every_ns=10**8, guards=parse_guards("error<2%, agreement>95%"), shadow=20)
HIDDEN = 10**6
"""So many calls are compared that the shadow never ends."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "state")
    yield house
    house.close()


def publish(house: House, *factors: float) -> None:
    """Versions of `m`; `prod` points at the first."""
    for number, factor in enumerate(factors):
        path = save_linear(house.folder / "m.onnx", factor)
        house.publish("m", path, "prod" if not number else None)


class Traffic:
    """Calls of all tenants in turn, from a thread of its own. `answers` are (tenant, version, y) in their order."""

    def __init__(self, service: Service, tenants: list[str], pause_s: float = 0.0005) -> None:
        self.answers: list[tuple[str, str, float]] = []
        self.failures: list[AirserveError] = []
        self._service, self._tenants, self._pause_s = service, tenants, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            tenant = self._tenants[number % len(self._tenants)]
            number += 1
            try:
                self.answers.append(await ask(self._service, tenant, f"c{number}"))
            except AirserveError as error:
                self.failures.append(error)
            await asyncio.sleep(self._pause_s)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


async def ask(service: Service, tenant: str, call_id: str = "c", model: str = "m") -> tuple[str, str, float]:
    """What a protocol does with one call."""
    deadline_ns = time.monotonic_ns() + 30 * 10**9
    served = service.resolve(model, None, tenant)
    if isinstance(served, Version):
        served = await served.ready(deadline_ns)
    assert isinstance(served, Deployment)
    reply = await served.infer(Call(call_id, model, {"x": ones(4)}, 1, deadline_ns, tenant, "k"), FREE)
    return tenant, reply.version, float(reply.outputs["y"][0, 0])


class Keeper:
    """A service that follows its database, as the server's does."""

    def __init__(self, house: House, service: Service, node: str = "a") -> None:
        self.house, self.service = house, service
        self.rollouts = Rollouts(house.database, service, node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rollouts.start()
        self._thread.start()

    def _run(self) -> None:
        seen = -1
        while not self._stop.wait(0.05):
            counter = self.house.database.change_counter()
            if counter != seen:
                seen = counter
                self.rollouts.follow()
                self.house.reconcile(self.service)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.rollouts.close()


@contextmanager
def kept(house: House, node: str = "a") -> Iterator[Keeper]:
    with house.service() as service:
        keeper = Keeper(house, service, node)
        try:
            yield keeper
        finally:
            keeper.close()


@contextmanager
def traffic(service: Service, tenants: list[str] = TENANTS, pause_s: float = 0.0005) -> Iterator[Traffic]:
    calls = Traffic(service, tenants, pause_s)
    try:
        yield calls
    finally:
        calls.stop()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def newest(house: House) -> Rollout:
    return newest_rollout(house.database, "m")


def status(house: House) -> Status:
    return status_of(house.database, newest(house), time.time_ns())


def test_a_good_version_reaches_everybody_by_itself_and_no_tenant_ever_goes_back(house: House) -> None:
    publish(house, 2.0, 2.001)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, SOON)
        wait_for(lambda: newest(house).state == "complete", "it is complete")
        wait_for(lambda: {version for _, version, _ in calls.answers[-40:]} == {"2"}, "the alias has moved")
    assert not calls.failures
    for tenant in TENANTS:
        versions = [version for who, version, _ in calls.answers if who == tenant]
        assert versions == sorted(versions)
    made = decisions(house.database, newest(house).id)
    assert [each.action for each in made] == ["start", "advance", "advance", "complete"]
    assert keeper.rollouts.decided == {("m", "prod", "advance"): 3}
    assert b'"guard":"agreement>95%","state":"passed"' in bytes(made[-1].figures)


def test_a_bad_version_is_seen_in_the_shadow_and_answers_nobody(house: House) -> None:
    publish(house, 2.0, 3.0)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, SOON)
        wait_for(lambda: not newest(house).running, "it has ended")
    assert newest(house).state == "rolled_back"
    assert newest(house).reason.startswith("agreement>95%: ")
    assert {version for _, version, _ in calls.answers} == {"1"}
    assert not calls.failures


def test_a_bad_version_without_a_shadow_is_taken_back_after_a_few_calls(house: House) -> None:
    publish(house, 2.0, 3.0)
    plan = Plan(steps=(20, 100), every_ns=3600 * 10**9, guards=SOON.guards, shadow=0)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, plan)
        wait_for(lambda: not newest(house).running, "it has ended")
        time.sleep(0.3)
    bad = sum(y == 3.0 for _, _, y in calls.answers)
    assert newest(house).state == "rolled_back"
    # Every tenth is generous: the pauses of a busy machine are in it.
    assert 0 < bad < 0.1 * len(calls.answers)
    assert {version for _, version, _ in calls.answers[-20:]} == {"1"}
    assert not calls.failures


def test_a_guard_acts_while_the_database_is_busy(house: House) -> None:
    publish(house, 2.0, 3.0)
    plan = Plan(steps=(60, 100), every_ns=3600 * 10**9, guards=SOON.guards, shadow=0)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, plan)
        with house.database.write(announce=False):
            wait_for(lambda: any(y == 3.0 for _, _, y in calls.answers), "the new version answers")
            wait_for(lambda: {version for _, version, _ in calls.answers[-80:]} == {"1"}, "the old one answers again")
            assert newest(house).state == "canary"
        wait_for(lambda: newest(house).state == "rolled_back", "it is written down")
    assert not calls.failures


def test_a_version_that_fails_is_taken_back_by_its_errors(house: House) -> None:
    publish(house, 2.0)
    house.publish("m", save_linear_failing(house.folder / "m.onnx"), None)
    plan = Plan(steps=(20, 100), every_ns=3600 * 10**9, guards=parse_guards("error<2%"), shadow=0)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, plan)
        wait_for(lambda: not newest(house).running, "it has ended")
    assert newest(house).state == "rolled_back"
    assert newest(house).reason.startswith("error<2%: ")
    assert 0 < len(calls.failures) < 0.1 * len(calls.answers)


def test_a_version_that_takes_too_long_is_taken_back_by_its_times(house: House) -> None:
    publish(house, 2.0)
    house.publish("m", save_linear_slowly(house.folder / "m.onnx"), None)
    plan = Plan(steps=(60, 100), every_ns=3600 * 10**9, guards=parse_guards("p50<4ms"), shadow=0)
    with kept(house) as keeper, traffic(keeper.service):
        start_rollout(house.database, "m", 2, plan)
        wait_for(lambda: not newest(house).running, "it has ended")
    assert newest(house).state == "rolled_back"
    assert newest(house).reason.startswith("p50<4ms: ")


def test_the_tenants_of_a_step_are_those_that_stand_in_front(house: House) -> None:
    publish(house, 2.0, 2.0001)
    plan = Plan(steps=(30, 60, 100), every_ns=3600 * 10**9, guards=SOON.guards, shadow=0)
    with kept(house) as keeper:
        rollout = start_rollout(house.database, "m", 2, plan)
        first = {tenant for tenant in TENANTS if place_of(rollout.id, tenant) < 30}
        second = {tenant for tenant in TENANTS if place_of(rollout.id, tenant) < 60}
        assert 0 < len(first) < len(second) < len(TENANTS)

        def taken() -> set[str]:
            found = {tenant: keeper.service.resolve("m", None, tenant).spec.version for tenant in TENANTS}
            return {tenant for tenant, version in found.items() if version == 2}

        wait_for(lambda: taken() == first, "the first step")
        # Who names a version gets it, who names no tenant reads about the old one, another alias is no affair of it.
        for tenant in sorted(first)[:1]:
            assert keeper.service.resolve("m", "1", tenant).spec.version == 1
        assert keeper.service.resolve("m").spec.version == 1
        assert keeper.rollouts.percents() == {("m", "prod"): 30}
        next_step(house.database, "m")
        wait_for(lambda: taken() == second, "the second step")
        stop_rollout(house.database, "m")
        wait_for(lambda: not taken(), "nobody")
        wait_for(lambda: keeper.rollouts.percents() == {}, "nothing is told of it any more")


def test_a_version_that_cannot_be_loaded_is_rolled_back_with_the_reason(house: House) -> None:
    publish(house, 2.0, 3.0)
    house.weights("m", 2).write_bytes(b"damaged on the disk")
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, Plan(guards=SOON.guards, shadow=0))
        wait_for(lambda: not newest(house).running, "it has ended")
    assert "version 2 failed to load: model.onnx does not match its checksum" in newest(house).reason
    assert {version for _, version, _ in calls.answers} == {"1"}
    assert not calls.failures


def test_a_server_that_starts_again_goes_on_with_what_was_counted(house: House) -> None:
    publish(house, 2.0, 2.0001)
    plan = Plan(steps=(20, 100), every_ns=3600 * 10**9, guards=SOON.guards, shadow=HIDDEN)
    with kept(house) as keeper, traffic(keeper.service):
        start_rollout(house.database, "m", 2, plan)
        wait_for(lambda: status(house).calls >= 10, "copies were compared")
    before = status(house).calls
    with kept(house) as keeper, traffic(keeper.service):
        wait_for(lambda: status(house).calls > before, "it goes on")
    assert status(house).calls > before
    assert len(load_counts(house.database, newest(house).id)) == 1


def test_the_counts_of_two_servers_are_judged_together(house: House) -> None:
    publish(house, 2.0, 2.0001)
    # Neither of them alone would ever have compared so many.
    with kept(house, "a") as one, kept(house, "b") as two, traffic(one.service), traffic(two.service):
        start_rollout(house.database, "m", 2, SOON)
        wait_for(lambda: newest(house).state == "complete", "it is complete")
    nodes = {node for _, node in load_counts(house.database, newest(house).id)}
    assert nodes == {"a", "b"}
    taken = [each.rollouts.decided.get(("m", "prod", "advance"), 0) for each in (one, two)]
    # Each step was taken once, by whichever server was first.
    assert sum(taken) == 3


def test_without_tenants_in_a_step_it_waits_and_says_so(house: House) -> None:
    publish(house, 2.0, 2.0001)
    with kept(house) as keeper:
        rollout = start_rollout(house.database, "m", 2, Plan(steps=(5, 100), every_ns=1, guards=SOON.guards, shadow=0))
        behind = [tenant for tenant in TENANTS if place_of(rollout.id, tenant) >= 5]
        with traffic(keeper.service, behind):
            wait_for(lambda: status(house).old_calls > 50, "the old version is called")
    assert newest(house).state == "canary"
    said = " / ".join(status(house).waiting)
    assert "nobody who called is among the first 5 % of the tenants" in said
    assert "agreement>95% needs" in said


def test_copies_are_neither_billed_nor_counted_as_calls(house: House) -> None:
    publish(house, 2.0, 2.0001)
    with kept(house) as keeper, traffic(keeper.service) as calls:
        start_rollout(house.database, "m", 2, Plan(steps=(100,), every_ns=1, guards=SOON.guards, shadow=HIDDEN))
        wait_for(lambda: status(house).calls >= 30, "copies were compared")
        calls.stop()
        new, old = (keeper.service.find("m", number).statistics for number in ("2", "1"))
        assert new.successes == new.inferences == 0
        assert old.successes == len(calls.answers)


def test_a_version_that_generates_text_is_watched_by_its_errors(house: House) -> None:
    with upstream_server() as good, upstream_server() as bad:
        for alias, server in (("prod", good), (None, bad)):
            folder = house.folder / f"chat-{alias}"
            upstream = Upstream(url=server.url, model="big-model", retries=0)
            text = Tensor("text", "BYTES", (1,))
            write_package(
                folder, Manifest(name="m", engine="openai", inputs=(text,), outputs=(text,), upstream=upstream), {}
            )
            house.catalog.publish(folder, alias=alias)
        bad.refusals = [refusal(500) for _ in range(1_000)]
        with kept(house) as keeper:
            begun = start_rollout(
                house.database, "m", 2, Plan(steps=(50, 100), guards=parse_guards("error<1%, p99<9s"))
            )
            # Answers of text are not compared, so there is no shadow.
            assert (begun.state, begun.shadow) == ("canary", 0)
            said: dict[str, int] = {}
            end = time.monotonic() + 30
            while newest(house).running:
                assert time.monotonic() < end
                for tenant in TENANTS:
                    word = asyncio.run(chat(keeper.service, tenant))
                    said[word] = said.get(word, 0) + 1
            assert newest(house).reason.startswith("error<1%: ")
            wait_for(lambda: asyncio.run(chat(keeper.service, TENANTS[0])) == "".join(WORDS), "the old version")
            assert said["failed"] < said["".join(WORDS)]
            assert {asyncio.run(chat(keeper.service, tenant)) for tenant in TENANTS} == {"".join(WORDS)}


async def chat(service: Service, tenant: str) -> str:
    """The text that a tenant gets, or that the call failed."""
    served = service.resolve("m", None, tenant)
    assert isinstance(served, GenerationDeployment)
    generation = Generation(chat=True, parameters={"messages": [{"role": "user", "content": "hi"}]})
    call = Call(f"t{time.monotonic_ns()}", "m", {}, 1, time.monotonic_ns() + 10**10, tenant, "k")
    try:
        pieces = [piece async for piece in served.generate(call, generation, FREE)]
    except AirserveError:
        return "failed"
    return "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece.choices)
