"""What a killed service leaves behind: every call that got an answer is in the ledger, exactly once."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from airserve import Client
from airserve.accounts import Principal
from airserve.client.exchange import infer_request
from airserve.core.errors import AirserveError
from airserve.metering.ledger import ledger_id
from airserve.server.calls import Calls
from tests.conftest import airserve, publish, start_service
from tests.models_for_tests import save_linear

CONNECTIONS = 32
CALLS = 10_000


def event_id_of(tenant_id: str, project_id: str, call_id: str, x: np.ndarray) -> str:
    """The id that the service gives to this call, from what the client sends."""
    request = infer_request("linear", {"x": x}, version=None, outputs=None, call_id=call_id)
    return Calls.event_id(Principal("", tenant_id, None, project_id=project_id), "linear", call_id, request.body)


def test_a_service_killed_amid_ten_thousand_calls_has_counted_each_answered_call_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    publish(state, {"linear": save_linear(tmp_path / "linear.onnx")})
    service = start_service(state, "--no-demo")
    answered: list[str] = []
    lock = threading.Lock()
    x = np.ones((1, 4), np.float32)

    def call_until_it_dies(worker: int) -> None:
        with Client(service.url, service.key, retries=0, timeout_ms=5000) as client:
            for number in range(CALLS // CONNECTIONS):
                call_id = f"call-{worker}-{number}"
                try:
                    client.infer("linear", {"x": x}, call_id=call_id)
                except AirserveError:
                    return
                with lock:
                    answered.append(call_id)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        runs = [pool.submit(call_until_it_dies, worker) for worker in range(CONNECTIONS)]
        while len(answered) < CALLS // 3:
            time.sleep(0.01)
        os.kill(service.ready["pid"], signal.SIGKILL)
        for run in runs:
            run.result()
    service.process.wait(10)
    assert CALLS // 3 <= len(answered) < CALLS

    again = start_service(state, "--no-demo")
    assert again.stop() == 0
    with closing(sqlite3.connect(state / "airserve.db")) as ledger:
        counted = [row[0] for row in ledger.execute("SELECT id FROM usage_events WHERE outcome = 'ok'")]
        ((tenant_id,),) = ledger.execute("SELECT id FROM tenants WHERE name = 'demo'")
        ((project_id,),) = ledger.execute("SELECT id FROM projects WHERE tenant_id = ?", (tenant_id,))
    expected = {ledger_id(tenant_id, event_id_of(tenant_id, project_id, call_id, x)) for call_id in answered}
    assert len(expected) == len(answered)
    # Each answered call by its own id: a lost one cannot hide behind one that was recorded and not answered.
    assert expected <= set(counted)
    assert len(set(counted)) == len(counted)
    # A call may have been recorded whose answer was cut off: at most those in flight at the kill.
    assert len(counted) <= len(answered) + CONNECTIONS


def test_a_retried_call_is_metered_once_and_another_body_under_its_id_is_another_call(tmp_path: Path) -> None:
    state = tmp_path / "state"
    publish(state, {"linear": save_linear(tmp_path / "linear.onnx")})
    service = start_service(state, "--no-demo")
    with Client(service.url, service.key) as client:
        for _ in range(3):
            client.infer("linear", {"x": np.ones((1, 4), np.float32)}, call_id="order-17")
        client.infer("linear", {"x": np.zeros((1, 4), np.float32)}, call_id="order-17")
    assert service.stop() == 0
    rows = airserve("usage", "--state-dir", str(state), "--json")
    assert sum(row["ok"] for row in rows) == 2
