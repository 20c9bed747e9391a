"""The client over emulated links: another address in the middle of a run, and a radio that sleeps."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation, missing
from airserve.lab.reach import Reach
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear
from tests.waiting import until

LACKS = missing()
pytestmark = [
    pytest.mark.skipif(bool(LACKS), reason="; ".join(LACKS)),
    pytest.mark.filterwarnings("ignore::airserve.lab.emulation.EmulationWarning"),
]
CALLS = """
import json, sys, time
from pathlib import Path
import numpy as np
from airserve import Client

url, key, cache, seconds = sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
with Client(url, key, cache=cache, seed=1) as client:
    client.prepare("linear")
    print("ready", flush=True)
    end, seen = time.monotonic() + seconds, []
    while time.monotonic() < end:
        x = np.full((1, 4), len(seen), np.float32)
        answer = client.infer("linear", {"x": x}, deadline=0.3, fallback="device")
        assert (answer["y"] == 2 * x).all()
        seen.append((answer.place, answer.late))
        time.sleep(0.03)
    print(json.dumps({"seen": seen, "network": client.link.network, "reachable": client.link.reachable}))
"""
WAKES = """
import json, sys, time
from pathlib import Path
from airserve import Client

with Client(sys.argv[1], sys.argv[2], cache=Path(sys.argv[3])) as client:
    for _ in range(5):
        client.warm()
    before = client.link.wake_s
    time.sleep(9.3)
    client.warm()
    print(json.dumps({"before": before, "after": client.link.wake_s, "rtt": client.link.rtt_s}))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("behind")
    airserve("publish", str(save_linear(folder / "linear.onnx")), "--state-dir", str(folder / "state"), "--json",
             "--device", str(save_linear(folder / "small.onnx")))  # fmt: skip
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def port_of(service: Service) -> int:
    return int(service.url.rpartition(":")[2])


def words(program: str, service: Service, *more: object) -> list[str]:
    url = f"http://{Emulation.cloud_address}:{port_of(service)}"
    return [sys.executable, "-c", program, url, service.key, *map(str, more)]


def test_another_address_in_the_middle_of_a_run_costs_no_call_and_no_second_charge(
    service: Service, tmp_path: Path
) -> None:
    with Emulation(constant_link("rate=50,rtt=20"), seed=1) as emulation, Reach(emulation, [port_of(service)]):
        program = emulation.device.popen(words(CALLS, service, tmp_path, 4), stdout=-1, stderr=-1, text=True)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.8)
        emulation.cut()
        time.sleep(0.7)
        emulation.restore("10.77.0.9")
        told, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    found: dict[str, Any] = json.loads(told)
    places = [place for place, _ in found["seen"]]
    assert found["network"] == "10.77.0.9"
    assert places[0] == places[-1] == "cloud"
    assert "device" in places
    assert found["reachable"]

    def charged() -> int:
        return sum(row["ok"] for row in service.run("usage") if row["model"] == "linear")

    until(lambda: charged() >= places.count("cloud"))
    # What the device answered because the cloud's answer was lost on its way may have been charged, never twice.
    assert charged() <= len(places)


def test_what_a_sleeping_radio_takes_to_wake_is_learnt(service: Service, tmp_path: Path) -> None:
    link = constant_link("rate=50,rtt=20,idle=3000,wake=400")
    with Emulation(link, seed=1) as emulation, Reach(emulation, [port_of(service)]):
        done = emulation.device.run(words(WAKES, service, tmp_path), timeout=60)
    seen = json.loads(done.stdout)
    assert seen["before"] == 0.0
    assert 0.3 < seen["after"] < 2.0
    assert seen["rtt"] < 0.2
