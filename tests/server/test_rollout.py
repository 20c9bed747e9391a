from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from airserve import Client
from airserve.core.errors import NotFoundError
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear


@pytest.fixture
def rolling(tmp_path: Path) -> Service:
    airserve("publish", str(save_linear(tmp_path / "m.onnx", 1)), "--state-dir", str(tmp_path / "state"), "--json")
    return start_service(tmp_path / "state", "--no-demo")


def test_versions_published_under_load_fail_no_call_and_are_all_seen(rolling: Service, tmp_path: Path) -> None:
    seen: set[float] = set()
    stop = threading.Event()

    def call() -> int:
        calls = 0
        with Client(rolling.url, rolling.key, retries=0) as client:
            while not stop.is_set():
                outputs = client.infer("m", {"x": np.ones((1, 4), np.float32)})
                seen.add(float(outputs["y"][0, 0]))
                calls += 1
        return calls

    try:
        with ThreadPoolExecutor(8) as pool:
            callers = [pool.submit(call) for _ in range(8)]
            for factor in (2, 3, 4):
                rolling.run("publish", str(save_linear(tmp_path / "m.onnx", factor)))
                end = time.monotonic() + 20
                while factor not in seen:
                    assert time.monotonic() < end
                    time.sleep(0.01)
            rolling.run("models", "rollback", "m")
            seen.discard(3.0)
            while 3.0 not in seen:
                assert time.monotonic() < end + 20
                time.sleep(0.01)
            stop.set()
            assert all(caller.result() > 0 for caller in callers)
        assert seen == {1.0, 2.0, 3.0, 4.0}
    finally:
        stop.set()
        assert rolling.stop() == 0


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(rolling: Service, tmp_path: Path) -> None:
    try:
        published = rolling.run("publish", str(save_linear(tmp_path / "m.onnx", 2)), "--no-alias")
        weights = rolling.state_dir / "store" / published["address"] / "model.onnx"
        weights.write_bytes(b"damaged on the disk")
        rolling.run("models", "alias", "m", str(published["version"]))
        time.sleep(1.5)
        with Client(rolling.url, rolling.key) as client:
            assert client.infer("m", {"x": np.ones((1, 4), np.float32)})["y"][0, 0] == 1
            assert not client.ready()
            rolling.run("models", "rollback", "m")
            time.sleep(1.5)
            assert client.ready()
    finally:
        assert rolling.stop() == 0


def test_an_alias_serves_a_version_beside_the_one_in_production(rolling: Service, tmp_path: Path) -> None:
    try:
        rolling.run("publish", str(save_linear(tmp_path / "m.onnx", 5)), "--alias", "canary")
        x = {"x": np.ones((1, 4), np.float32)}
        with Client(rolling.url, rolling.key) as client:
            end = time.monotonic() + 10
            while True:
                try:
                    assert client.infer("m@canary", x)["y"][0, 0] == 5
                    break
                except NotFoundError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            assert client.infer("m", x)["y"][0, 0] == 1
            assert client.infer("m", x, version="2")["y"][0, 0] == 5
            assert client.metadata("m")["versions"] == ["1", "2"]
    finally:
        assert rolling.stop() == 0
