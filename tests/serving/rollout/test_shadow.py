from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from airserve.models.manifest import Variant
from airserve.models.package import write_package
from airserve.serving.deployment import Deployment
from airserve.serving.rollout.routing import Detour
from airserve.serving.rollout.shadow import Shadow
from airserve.serving.version import Version
from tests.models_for_tests import save_linear, save_slow
from tests.serving.house import House, infer, ones


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "state")
    yield house
    house.close()


def until(condition: Callable[[], object], what: str, call: Callable[[], object]) -> None:
    """Call again and again: on a busy machine the thread of the lowest priority drops what has waited for too long."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        call()
        time.sleep(0.005)


@dataclass
class Holding:
    """Is told of comparisons, and lets the thread that tells of them wait until it is `released`."""

    seen: list[bool | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self, agreed: bool | None) -> None:
        self.seen.append(agreed)
        self.released.wait(30)


def ended(shadow: Shadow) -> None:
    shadow.stop()
    shadow.join()


def test_each_copy_is_one_row_compared_with_the_answer_to_it(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    house.publish("other", save_linear(house.folder / "o.onnx", 2.0))
    seen: list[bool | None] = []
    with house.service() as service:
        old, new = service.find("m"), service.find("other")
        shadow = Shadow(old, new.spec, seen.append)
        rows = itertools.cycle((1, 3, 5))
        made: list[int] = []

        def call() -> None:
            made.append(next(rows))
            asyncio.run(infer(service, "m", np.random.default_rng(made[-1]).normal(size=(made[-1], 4)).astype("f")))

        until(lambda: len(seen) >= 3, "three copies", call)
        ended(shadow)
        assert set(seen) == {True}
        assert len(seen) <= len(made)
        asyncio.run(infer(service, "m", ones(4)))
        assert not old.taps
        assert old.statistics.inferences == sum(made) + 1


def test_other_answers_disagree_and_a_version_that_fails_gives_none(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    house.publish("other", save_linear(house.folder / "o.onnx", 2.2))
    house.publish("failing", save_slow(house.folder / "f.onnx"))
    with house.service() as service:
        for name, expected in {"other": False, "failing": None}.items():
            seen: list[bool | None] = []
            shadow = Shadow(service.find("m"), service.find(name).spec, seen.append)
            until(lambda seen=seen: seen, "a copy", lambda: asyncio.run(infer(service, "m", ones(4))))
            ended(shadow)
            assert set(seen) == {expected}


def test_what_is_served_is_compared_and_not_the_first_variant_of_the_package(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    files = {name: save_linear(house.folder / f"{name}.onnx", factor) for name, factor in (("same", 2.0), ("off", 2.2))}
    (published,) = house.catalog.show("m")
    manifest = msgspec.structs.replace(
        published.manifest,
        name="other",
        variants=tuple(Variant(name, file.name, file.stat().st_size) for name, file in files.items()),
        serve=("off",),
    )
    house.publish("other", write_package(house.folder / "two", manifest, {file.name: file for file in files.values()}))
    seen: list[bool | None] = []
    with house.service() as service:
        shadow = Shadow(service.find("m"), service.find("other").spec, seen.append)
        until(lambda: seen, "a copy", lambda: asyncio.run(infer(service, "m", ones(4))))
        ended(shadow)
    assert set(seen) == {False}


def test_no_copy_begins_while_calls_wait(house: House) -> None:
    house.publish("slow", save_slow(house.folder / "slow.onnx"))
    with house.service() as service:
        version = service.find("slow")
        waiting: list[int] = []
        shadow = Shadow(version, version.spec, lambda agreed: waiting.append(queued(version)))

        async def calls() -> None:
            await asyncio.gather(*(infer(service, "slow", np.ones(1, np.float32)) for _ in range(12)))

        until(lambda: waiting, "a copy was run at the end", lambda: (asyncio.run(calls()), time.sleep(1.0)))
        ended(shadow)
        # Nobody came for a second after each twelve: a copy begun while some waited would have ended among them.
        assert set(waiting) == {0}


def test_it_runs_at_the_lowest_priority_and_only_there(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    niceness: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with house.service() as service:
        shadow = Shadow(
            service.find("m"),
            service.find("m").spec,
            lambda agreed: niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())),
        )
        until(lambda: niceness, "a copy", lambda: asyncio.run(infer(service, "m", ones(4))))
        ended(shadow)
    assert set(niceness) == {19}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_what_there_is_no_room_for_is_dropped_and_calls_go_on(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    hold = Holding()
    seen, held = hold.seen, hold.released
    with house.service() as service:
        shadow = Shadow(service.find("m"), service.find("m").spec, hold)
        until(lambda: seen, "a copy", lambda: asyncio.run(infer(service, "m", ones(4))))
        for _ in range(60):
            assert float(asyncio.run(infer(service, "m", ones(4)))[0, 0]) == 2
        assert len(seen) == 1
        shadow.stop()
        held.set()
        shadow.join()


def test_a_version_that_cannot_be_loaded_again_is_told_and_disturbs_nobody(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    with house.service() as service:
        spec = service.find("m").spec
        shadow = Shadow(service.find("m"), replace(spec, folder=Path("nowhere"), files=None), lambda agreed: None)
        shadow.join()
        assert "cannot be loaded a second time" in shadow.failed
        asyncio.run(infer(service, "m", ones(4)))
        shadow.stop()


def queued(version: Version) -> int:
    assert isinstance(version.deployment, Deployment)
    return len(version.deployment.scheduler.queue)


def test_few_answers_are_given_before_the_first_are_compared(house: House) -> None:
    house.publish("m", save_linear(house.folder / "m.onnx", 2.0))
    hold = Holding()
    seen, held = hold.seen, hold.released
    with house.service() as service:
        new = service.find("m")
        shadow = Shadow(new, new.spec, hold)
        everybody = Detour("roll_1", 100, new, shadow.is_behind)
        assert everybody.takes("ten_1")
        given = 0
        # The first is being compared for ever; as many as wait are what nobody has looked at.
        while everybody.takes("ten_1"):
            given += 1
            assert given < 20
            asyncio.run(infer(service, "m", ones(4)))
        assert given >= 4
        held.set()
        until(lambda: len(seen) >= given, "none of the first is dropped", lambda: None)
        until(lambda: everybody.takes("ten_1"), "more may be answered", lambda: None)
        # Once many were compared nobody is held back, however many wait.
        until(lambda: len(seen) > 20, "copies", lambda: asyncio.run(infer(service, "m", ones(4))))
        held.clear()
        for _ in range(40):
            asyncio.run(infer(service, "m", ones(4)))
        assert everybody.takes("ten_1")
        shadow.stop()
        held.set()
        shadow.join()
