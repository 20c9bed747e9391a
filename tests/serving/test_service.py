"""Loading and unloading of real models: by operators, on first use, and to keep within a bound of memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from airserve.core.errors import AirserveError, NotFoundError, OverloadedError
from airserve.serving.service import Service
from airserve.serving.version import State
from tests.how_long import times
from tests.models_for_tests import save_linear, save_slow, save_wide
from tests.serving.house import House, infer, ones

WIDTH = 500
"""A matrix of this width is 1 MB."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "state")
    yield house
    house.close()


def publish_wide(house: House, *names: str) -> None:
    for number, name in enumerate(names, 1):
        house.publish(name, save_wide(house.folder / f"{name}.onnx", WIDTH, number))


def states(service: Service) -> dict[str, State]:
    return {version.spec.model: version.state for version in service.all_versions()}


def ask(service: Service, model: str, **options: float) -> float:
    return float(asyncio.run(infer(service, model, ones(WIDTH), **options))[0, 0])


def wait_for(service: Service, model: str, state: State) -> None:
    end = time.monotonic() + 30
    while states(service)[model] is not state:
        assert time.monotonic() < end, states(service)
        time.sleep(0.01)


def test_an_unloaded_model_answers_nobody_until_it_is_loaded_again(house: House) -> None:
    publish_wide(house, "a", "b")
    with house.service() as service:
        service.unload("a")
        with pytest.raises(OverloadedError, match="Request for unknown model: 'a' version 1 is not at ready state"):
            ask(service, "a")
        assert service.models() == ["b"]
        assert not service.failed
        assert ask(service, "b") == 2
        # What is published meanwhile stays out of memory too.
        house.publish("a", save_wide(house.folder / "a.onnx", WIDTH, 7))
        house.reconcile(service)
        assert states(service)["a"] is State.UNLOADED
        service.load("a")
        assert ask(service, "a") == 7
        with pytest.raises(NotFoundError, match="failed to load 'c'"):
            service.load("c")
        with pytest.raises(NotFoundError, match="Request for unknown model: 'c' is not found"):
            service.unload("c")


def test_calls_that_were_accepted_finish_before_a_model_is_unloaded(house: House) -> None:
    house.publish("slow", save_slow(house.folder / "slow.onnx"))
    with house.service() as service:
        x = np.ones(1, np.float32)

        async def calls() -> list[float]:
            waiting = [asyncio.create_task(infer(service, "slow", x)) for _ in range(6)]
            await asyncio.sleep(0)
            await asyncio.to_thread(service.unload, "slow")
            assert all(task.done() for task in waiting)
            return [float(task.result()) for task in waiting]

        assert asyncio.run(calls()) == [1.0] * 6


def test_a_failed_load_leaves_the_old_one_serving_and_says_why(house: House) -> None:
    publish_wide(house, "a")
    with house.service() as service:
        weights = house.weights("a").read_bytes()
        house.weights("a").write_bytes(b"damaged on the disk")
        with pytest.raises(
            AirserveError, match=r"failed to load 'a', model\.onnx does not match its checksum"
        ) as error:
            service.load("a")
        assert error.value.http_status == 400
        assert ask(service, "a") == 1
        (version,) = service.all_versions()
        assert "does not match its checksum" in version.reason
        service.unload("a")
        with pytest.raises(AirserveError, match="failed to load"):
            service.load("a")
        with pytest.raises(NotFoundError, match="has no available versions"):
            ask(service, "a")
        house.weights("a").write_bytes(weights)
        service.load("a")
        assert ask(service, "a") == 1
        assert not service.failed


def test_counters_go_on_after_a_model_was_out_of_memory(house: House) -> None:
    publish_wide(house, "a")
    with house.service() as service:
        ask(service, "a")
        service.unload("a")
        service.load("a")
        ask(service, "a")
        assert service.find("a").statistics.successes == 2


def test_the_least_recently_used_idle_model_gives_way(house: House) -> None:
    publish_wide(house, "a", "b", "c")
    with house.service(2.5) as service:
        # At the start as many as fit.
        assert states(service) == {"a": State.READY, "b": State.READY, "c": State.ASLEEP}
        assert service.models() == ["a", "b", "c"]
        assert [ask(service, name) for name in "ba"] == [2, 1]
        assert ask(service, "c") == 3
        assert states(service) == {"a": State.READY, "b": State.ASLEEP, "c": State.READY}
        assert ask(service, "b") == 2
        assert states(service) == {"a": State.ASLEEP, "b": State.READY, "c": State.READY}


def test_a_busy_model_does_not_give_way(house: House) -> None:
    publish_wide(house, "a")
    house.publish("slow", save_slow(house.folder / "slow.onnx"))
    with house.service(1.5) as service:
        x = np.ones(1, np.float32)

        async def calls() -> tuple[float, float]:
            await infer(service, "slow", x)
            first = asyncio.create_task(infer(service, "slow", x))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match=r"not at ready state|all others are busy"):
                await infer(service, "a", ones(WIDTH), seconds=0.01)
            second = await infer(service, "a", ones(WIDTH))
            assert first.done()
            return float(await first), float(second[0, 0])

        assert asyncio.run(calls()) == (1.0, 1.0)


def test_with_load_on_first_use_nothing_is_loaded_before_and_one_load_serves_all_who_wait(house: House) -> None:
    publish_wide(house, "a", "b")
    with house.service(at_start=False) as service:
        assert set(states(service).values()) == {State.ASLEEP}

        async def calls() -> list[float]:
            return [float(y[0, 0]) for y in await asyncio.gather(*(infer(service, "b", ones(WIDTH)) for _ in range(8)))]

        assert asyncio.run(calls()) == [2.0] * 8
        assert states(service) == {"a": State.ASLEEP, "b": State.READY}
        assert service.find("b").statistics.successes == 8


def test_a_load_stalls_nobody_else_and_goes_on_when_its_caller_cannot_wait(house: House) -> None:
    house.publish("linear", save_linear(house.folder / "linear.onnx"))
    house.publish("slow", save_slow(house.folder / "slow.onnx"))
    with house.service(at_start=False) as service:
        asyncio.run(infer(service, "linear", ones(4)))

        async def calls() -> int:
            impatient = asyncio.create_task(infer(service, "slow", np.ones(1, np.float32), seconds=0.02))
            await asyncio.sleep(0)
            answered = 0
            while service.find("slow").state is not State.READY:
                await infer(service, "linear", ones(4), seconds=5)
                answered += 1
            with pytest.raises(OverloadedError, match="is not at ready state: it is being loaded") as error:
                await impatient
            assert error.value.retry_after is not None
            return answered

        assert asyncio.run(calls()) > 1
        assert float(asyncio.run(infer(service, "slow", np.ones(1, np.float32)))) == 1


def test_a_model_larger_than_the_bound_says_so_and_leaves_the_others_alone(house: House) -> None:
    publish_wide(house, "a")
    house.publish("big", save_wide(house.folder / "big.onnx", 2 * WIDTH))
    with house.service(2) as service:
        assert ask(service, "a") == 1
        with pytest.raises(NotFoundError, match="has no available versions"):
            asyncio.run(infer(service, "big", ones(2 * WIDTH)))
        assert "model_memory_mb" in service.failed["big", 1]
        assert states(service)["a"] is State.READY


def test_a_new_version_takes_over_although_there_is_no_room_for_two(house: House) -> None:
    publish_wide(house, "a")
    with house.service(1.5) as service:
        assert ask(service, "a") == 1
        house.publish("a", save_wide(house.folder / "a.onnx", WIDTH, 5))
        house.reconcile(service)
        assert ask(service, "a") == 5
        # One that is damaged does not, even where nothing of the model is in memory.
        publish_wide(house, "b")
        house.reconcile(service)
        assert ask(service, "b") == 1
        assert states(service)["a"] is State.ASLEEP
        version = house.publish("a", save_wide(house.folder / "a.onnx", WIDTH, 6), alias=None)
        house.weights("a", version).write_bytes(b"damaged on the disk")
        house.catalog.set_alias("a", "prod", version)
        house.reconcile(service)
        assert ask(service, "a") == 5
        assert ("a", version) in service.failed


def test_more_models_than_fit_answer_every_call_of_many_callers(house: House) -> None:
    publish_wide(house, "a", "b", "c")
    with house.service(2.5) as service:

        def caller(seed: int) -> int:
            order = np.random.default_rng(seed)
            for _ in range(12):
                number = int(order.integers(3))
                assert ask(service, "abc"[number]) == number + 1
            return 12

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(caller, range(4))) == 48
        assert sum(state is State.READY for state in states(service).values()) <= 2


def test_memory_returns_to_its_level_after_rounds_of_loading(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.load_rounds", str(tmp_path), str(times(15, 50))],
        capture_output=True, text=True, timeout=240, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    (before, threads), (after, threads_after) = seen["before"], seen["after"]
    # Less than half of one model, let alone of all.
    assert seen["weights"] > 20e6
    assert after - before < seen["weights"] / 2, seen
    assert threads_after == threads
