from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from structlog.testing import capture_logs

from airserve.core.call import Call, Reply
from airserve.serving.deployment import Deployment
from airserve.serving.taps import Taps
from tests.models_for_tests import save_linear
from tests.serving.house import House, infer
from tests.waiting import until


def pair(number: int) -> tuple[Call, Reply]:
    return Call(f"c{number}", "m", {}, 1, 0), Reply("m", "1", {})


def test_a_tap_sees_the_call_and_its_reply_after_it_was_answered_and_lives_through_a_reload(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.publish("linear", save_linear(tmp_path / "linear.onnx"))
    x = np.ones((1, 4), np.float32)
    seen: list[tuple[Call, Reply]] = []
    with house.service() as service:

        def tap(call: Call, reply: Reply) -> None:
            seen.append((call, reply))

        version = service.find("linear")
        version.taps.add(tap)
        asyncio.run(infer(service, "linear", x))
        until(lambda: seen)
        assert (seen[0][0].inputs["x"] == x).all() and (seen[0][1].outputs["y"] == 2 * x).all()
        service.load("linear")
        asyncio.run(infer(service, "linear", x))
        until(lambda: len(seen) == 2)
        version.taps.remove(tap)
        asyncio.run(infer(service, "linear", x))
        deployment = version.deployment
        assert isinstance(deployment, Deployment) and not deployment.taps
        assert len(seen) == 2
    house.close()


def test_under_load_taps_see_an_even_sample_of_bounded_size() -> None:
    taps, seen = Taps(per_second=0.001), []
    taps.add(lambda call, reply: seen.append(int(call.id[1:])))
    taps.offer([pair(number) for number in range(1000)])
    assert 0 < len(seen) < 100
    assert max(np.diff(seen)) - min(np.diff(seen)) <= 1
    taps.offer([pair(0)])
    assert seen.count(0) == 1


def test_a_tap_that_fails_is_told_of_once_and_disturbs_no_other() -> None:
    taps, seen = Taps(), []

    def broken(call: Call, reply: Reply) -> None:
        raise ValueError("no")

    taps.add(broken)
    taps.add(lambda call, reply: seen.append(call))
    with capture_logs() as logs:
        taps.offer([pair(0), pair(1)])
    assert len(seen) == 2
    assert [entry["event"] for entry in logs] == ["a tap failed; calls are not affected"]
