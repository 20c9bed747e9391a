"""A model in Python behind a real service whose worker is killed again and again under load."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve import Client
from airserve.accounts import Principal
from airserve.client.exchange import infer_request
from airserve.core.errors import AirserveError
from airserve.metering.event import Outcome
from airserve.metering.ledger import ledger_id
from airserve.server.calls import Calls
from tests.conftest import Service, airserve, start_service
from tests.how_long import times

THREADS = 8
KILLS = times(7, 20)
CODE = """
import os, time
import numpy as np

class Model:
    inputs = {"x": ("FP32", [-1, 4])}
    outputs = {"y": ("FP32", [-1, 4]), "pid": ("INT64", [-1])}
    max_batch = 8

    def load(self, folder):
        print("ready in", os.getpid())

    def predict(self, batch):
        x = batch["x"]
        time.sleep(0.003)
        if (x < 0).any():
            os._exit(1)
        return {"y": x * 2, "pid": np.full(len(x), os.getpid())}
"""
pytestmark = pytest.mark.server


def start(folder: Path, code: str = CODE) -> Service:
    (folder / "doubler.py").write_text(code)
    published = airserve("publish", str(folder / "doubler.py"), "--state-dir", str(folder / "state"), "--json")
    assert published["model"] == "doubler"
    return start_service(folder / "state", "--no-demo")


def test_a_worker_killed_twenty_times_under_load_fails_the_calls_that_it_had_and_no_other(tmp_path: Path) -> None:
    service = start(tmp_path)
    lock = threading.Lock()
    answered: dict[str, int] = {}
    refused: dict[str, AirserveError] = {}
    newest = 0
    done = threading.Event()

    def call(worker: int) -> None:
        nonlocal newest
        number = 0
        with Client(service.url, service.key, retries=0, timeout_ms=20_000) as client:
            while not done.is_set():
                number += 1
                call_id = f"call-{worker}-{number}"
                x = np.full((1, 4), number, np.float32)
                try:
                    reply = client.infer("doubler", {"x": x}, call_id=call_id)
                except AirserveError as error:
                    with lock:
                        refused[call_id] = error
                    continue
                np.testing.assert_array_equal(reply["y"], x * 2)
                with lock:
                    answered[call_id] = newest = int(reply["pid"][0])

    with ThreadPoolExecutor(THREADS) as pool:
        runs = [pool.submit(call, worker) for worker in range(THREADS)]
        killed: set[int] = set()
        while len(killed) < KILLS:
            time.sleep(0.01)
            pid = newest
            if pid and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        after = len(answered)
        while len(answered) < after + 100:
            time.sleep(0.01)
        done.set()
        for run in runs:
            run.result()
    service.stop()

    assert len(set(answered.values())) == KILLS + 1
    # Each kill met at most one batch, and that batch is no larger than the threads that call.
    assert 0 < len(refused) <= KILLS * THREADS
    assert {(error.http_status, error.code) for error in refused.values()} == {(503, "model_lost")}
    assert all("is being replaced" in error.message for error in refused.values())

    with closing(sqlite3.connect(tmp_path / "state" / "airserve.db")) as ledger:
        events = list(ledger.execute("SELECT id, outcome, compute_ns, amount_nano FROM usage_events"))
        ((tenant_id,),) = ledger.execute("SELECT id FROM tenants WHERE name = 'demo'")
        ((project_id,),) = ledger.execute("SELECT id FROM projects WHERE tenant_id = ?", (tenant_id,))

    def event_ids(calls: dict[str, Any], outcome: Outcome) -> set[str]:
        return {ledger_id(tenant_id, _event_id(tenant_id, project_id, call_id), outcome) for call_id in calls}

    charged = [event for event in events if event[1] == "ok"]
    failed = [event for event in events if event[1] == "failed"]
    assert len(events) == len(charged) + len(failed) == len(answered) + len(refused)
    assert {event[0] for event in charged} == event_ids(answered, Outcome.OK)
    assert {event[0] for event in failed} == event_ids(refused, Outcome.FAILED)
    assert not any(compute_ns or cost for _, _, compute_ns, cost in failed)


def _event_id(tenant_id: str, project_id: str, call_id: str) -> str:
    """The id that the service gives to this call, from what the client sends."""
    x = np.full((1, 4), int(call_id.rpartition("-")[2]), np.float32)
    request = infer_request("doubler", {"x": x}, version=None, outputs=None, call_id=call_id)
    return Calls.event_id(Principal("", tenant_id, None, project_id=project_id), "doubler", call_id, request.body)


def test_an_input_that_ends_the_process_is_not_tried_on_the_next_one_and_nobody_pays_for_its_start(
    tmp_path: Path,
) -> None:
    service = start(tmp_path, CODE.replace("def load(self, folder):", "def load(self, folder):\n        time.sleep(2)"))
    with Client(service.url, service.key, retries=0) as client:
        good = {"x": np.ones((1, 4), np.float32)}
        first = int(client.infer("doubler", good)["pid"][0])
        with pytest.raises(AirserveError) as lost:
            client.infer("doubler", {"x": -good["x"]})
        assert (lost.value.http_status, lost.value.code) == (503, "model_lost")
        assert lost.value.retry_after
        assert int(client.infer("doubler", good)["pid"][0]) != first
    log = (tmp_path / "state.log").read_text()
    assert log.count("a model's process was lost") == 1
    assert log.count("ready in") == 2
    assert '"model": "doubler"' in log
    assert service.stop() == 0
    with closing(sqlite3.connect(tmp_path / "state" / "airserve.db")) as ledger:
        charged = [row[0] for row in ledger.execute("SELECT compute_ns FROM usage_events WHERE outcome = 'ok'")]
    assert len(charged) == 2
    assert max(charged) < 2_000_000_000


def test_processes_end_with_a_service_that_is_killed(tmp_path: Path) -> None:
    service = start(tmp_path)
    with Client(service.url, service.key) as client:
        pid = int(client.infer("doubler", {"x": np.ones((1, 4), np.float32)})["pid"][0])
    os.kill(service.ready["pid"], signal.SIGKILL)
    service.process.wait(10)
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "the model's process outlived the service"
        time.sleep(0.02)
