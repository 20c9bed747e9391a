"""Drift of a running service: calls that look otherwise than training raise the metric, the alert and the log, once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from airserve.core.call import Array
from tests import commands
from tests.conftest import Service, publish, start_service
from tests.models_for_tests import save_linear
from tests.server.wire import infer, send

pytestmark = pytest.mark.server

PIXELS = load_digits().data.astype(np.float32)
ROWS = 16


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("drift") / "state")
    publish(running.state_dir, {"linear": save_linear(running.state_dir.parent / "linear.onnx")})
    yield running
    assert running.stop() == 0


def control(service: Service, path: str) -> Any:
    headers = {"authorization": f"Bearer {service.ready['operator_key']}"}
    answer = send(service, f"/control{path}", headers=headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def metric(service: Service, name: str) -> float:
    headers = {"authorization": f"Bearer {service.ready['operator_key']}"}
    page = send(service, "/metrics", headers=headers).body.decode()
    (value,) = re.findall(rf'^{name}{{model="digits",version="1"}} (\S+)$', page, re.MULTILINE)
    return float(value)


def call_until(service: Service, rows: Callable[[int], Array], done: Callable[[], bool]) -> None:
    """Calls of `ROWS` rows each, the numbers of which `rows` chooses, until `done`."""
    end, number = time.monotonic() + 60, 0
    while not done():
        assert time.monotonic() < end
        for _ in range(10):
            x = rows(number)
            number += 1
            document = {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}]
            }
            assert infer(service, "digits", document).status == 200
            time.sleep(0.01)


def some(number: int) -> Array:
    return PIXELS[np.random.default_rng(number).integers(0, len(PIXELS), ROWS)]


def test_calls_like_training_raise_nothing_and_others_raise_an_alert_in_every_place(service: Service) -> None:
    def looked_at(least: int) -> bool:
        (found,) = control(service, "/models/digits/drift")
        return bool(found["calls"] >= least)

    call_until(service, some, lambda: looked_at(30))
    assert control(service, "/drift") == []
    assert metric(service, "airserve_drift_statistics") == 0
    assert metric(service, "airserve_drift_rows") >= 30 * ROWS

    # The same pictures, black on white.
    call_until(service, lambda number: 16 - some(number), lambda: bool(control(service, "/drift")))
    (alert,) = control(service, "/drift")
    assert (alert["model"], alert["version"]) == ("digits", 1)
    names = {each["name"] for each in alert["drifted"]}
    assert names and all(each["psi"] > 0.2 and each["since_ns"] > 10**18 for each in alert["drifted"])
    (found,) = control(service, "/models/digits/drift?count=3")
    assert len(found["statistics"]) == 3 and set(found["drifted"]) >= names
    assert found["statistics"][0]["level"] == "significant"
    assert metric(service, "airserve_drift_statistics") >= len(names)
    assert metric(service, "airserve_drift_largest_psi") > 0.25
    digits = next(each for each in control(service, "/models") if each["model"] == "digits")
    assert digits["baseline"] and digits["state"] == "ready" and set(digits["drifted"]) >= names

    text = Path(f"{service.state_dir}.log").read_text()
    told = [json.loads(line) for line in text.splitlines() if "have drifted from its baseline" in line]
    assert told and all(each["model"] == "digits" and each["level"] == "warning" for each in told)
    # Each statistic once, however often it was looked at.
    assert sum(each["statistics"] for each in told) <= len(control(service, "/models/digits/drift")[0]["drifted"]) + 2

    done = commands.run("drift", "digits", "--state-dir", str(service.state_dir))
    assert done.returncode == 1, done.stderr
    assert "drifted" in done.stdout and "significant" in done.stdout


def test_a_model_without_a_baseline_is_not_watched(service: Service) -> None:
    infer(service, "linear")
    assert control(service, "/models/linear/drift") == []
    done = commands.run("drift", "linear", "--state-dir", str(service.state_dir))
    assert done.returncode == 4 and "publish --baseline" in done.stderr


def test_rows_in_a_file_are_held_against_the_baseline_without_the_service(service: Service, tmp_path: Path) -> None:
    np.save(tmp_path / "like.npy", PIXELS[::2])
    np.save(tmp_path / "other.npy", PIXELS[::2] / 16)
    np.save(tmp_path / "few.npy", PIXELS[:50])
    state = ("--state-dir", str(service.state_dir))
    like = commands.run("drift", "digits", "--data", str(tmp_path / "like.npy"), *state, "--json")
    (found,) = json.loads(like.stdout)
    assert like.returncode == 0 and found["drifted"] == [] and found["rows"] == len(PIXELS[::2])
    other = commands.run("drift", "digits", "--data", str(tmp_path / "other.npy"), *state)
    assert other.returncode == 1 and "pixel_" in other.stdout
    few = commands.run("drift", "digits", "--data", str(tmp_path / "few.npy"), *state)
    assert few.returncode == 3 and "50 rows" in few.stderr
