"""A service whose models are signed and encrypted, and whose plans and projects say what leaves it and what stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve import Client
from airserve.accounts.subscriptions import subscribe
from airserve.accounts.terms import Hardening
from airserve.models.signature import new_key_pair
from airserve.models.store_key import new_key_file
from airserve.server.plan_file import PlanDocument, publish_plan
from airserve.storage import Database
from tests.conftest import AIRSERVE, Service, airserve, start_service
from tests.models_for_tests import save_linear, save_wide
from tests.waiting import until

pytestmark = pytest.mark.server

CANARY = 8_521_347.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secure")


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[Service]:
    (folder / "state").mkdir()
    new_key_pair(folder / "release.key")
    new_key_file(folder / "store.key")
    (folder / "state" / "settings.toml").write_text(
        f"trusted_model_keys = ['{folder}/release.key.pub']\nrequire_signed_models = true\n"
        f"store_key_file = '{folder}/store.key'\n"
    )
    for path in (save_linear(folder / "m.onnx", 1), save_wide(folder / "wide.onnx", 4)):
        airserve(
            "publish", str(path), "--sign", str(folder / "release.key"), "--state-dir", str(folder / "state"), "--json"
        )
    service = start_service(folder / "state")
    yield service
    assert service.stop() == 0


def ask(service: Service, model: str = "m") -> list[float]:
    with Client(service.url, service.key) as client:
        return [
            float(value) for value in client.infer(model, {"x": np.array([[CANARY, 0.25, 3, 2]], np.float32)})["y"][0]
        ]


def control(service: Service, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{service.url}/control{path}",
        json.dumps(body).encode() if body is not None else None,
        {"authorization": f"Bearer {service.ready['operator_key']}", "content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_a_signed_and_encrypted_model_answers_and_the_demo_is_left_out(secure: Service) -> None:
    assert ask(secure)[1] == 0.25
    assert secure.ready["models"] == ["m", "wide"]
    assert all(row["encrypted"] and row["signed"] for row in secure.run("store", "list"))
    assert not list((secure.state_dir / "store").rglob("*.onnx"))


def test_an_unsigned_model_is_refused_with_its_own_exit_code(secure: Service, folder: Path) -> None:
    path = save_linear(folder / "unsigned.onnx", 3)
    done = subprocess.run(
        [AIRSERVE, "publish", str(path), "--state-dir", str(secure.state_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5 and "airserve sign" in done.stderr


def test_a_version_that_was_tampered_with_leaves_the_old_one_serving(secure: Service, folder: Path) -> None:
    new = secure.run(
        "publish", str(save_linear(folder / "m.onnx", 2)), "--no-alias", "--sign", str(folder / "release.key")
    )
    old = next(row for row in secure.run("store", "list") if row["model"] == "m 1")["package"]
    store = secure.state_dir / "store"
    shutil.copytree(store / new["address"], folder / "kept")
    # Rolled back by hand: the older package in the place of the newer.
    shutil.rmtree(store / new["address"])
    shutil.copytree(store / old, store / new["address"])
    secure.run("models", "alias", "m", "2")
    with Client(secure.url, secure.key) as client:
        until(lambda: not client.ready())
        assert ask(secure)[1] == 0.25
        shutil.rmtree(store / new["address"])
        shutil.copytree(folder / "kept", store / new["address"])
        secure.run("models", "rollback", "m")
        until(client.ready)
        secure.run("models", "alias", "m", "2")
        until(lambda: ask(secure)[1] == 0.5)


def test_payloads_are_kept_where_a_project_asks_and_encrypted(secure: Service) -> None:
    ask(secure)
    assert not (secure.state_dir / "payloads").exists()
    (project, *_) = control(secure, "GET", "/tenants/demo/projects")
    path = f"/tenants/demo/projects/{project['name']}/payload-logging"
    control(secure, "PUT", path, {"enabled": True, "retention_days": 1, "redact": ["y"]})

    def shown() -> list[dict[str, Any]]:
        done = subprocess.run(
            [AIRSERVE, "payloads", "show", project["id"], "--state-dir", str(secure.state_dir)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kept() -> bool:
        ask(secure)
        return bool(shown())

    until(kept)
    record = shown()[0]
    assert record["model"] == "m" and record["inputs"]["x"]["data"][0] == CANARY
    assert record["outputs"] == {"y": "[redacted]"}
    assert secure.run("payloads", "list")[0]["project"] == project["id"]
    control(secure, "PUT", path, {"enabled": False})
    everything = [path for path in secure.state_dir.rglob("*") if path.is_file() and not path.is_socket()]
    assert not [path for path in everything if str(CANARY).encode() in path.read_bytes()]


def test_a_plan_gives_only_the_largest_values_rounded(secure: Service) -> None:
    before = ask(secure, "wide")
    database = Database.open(secure.state_dir)
    try:
        now_ns = time.time_ns()
        document = PlanDocument(code="hard", name="hard", hardening=Hardening(top_k=2, decimals=0))
        publish_plan(database, document, now_ns=now_ns)
        subscribe(database, "demo", "hard", now_ns=now_ns)
        until(lambda: ask(secure, "wide") == [before[0], 0, 3, 0])
    finally:
        database.close()
