"""However many connections an attempt takes, the call runs once and is charged once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np

from airserve.client.calls import Settings, new_call_id
from airserve.client.exchange import infer_request, outputs_of
from airserve.client.link.coding import decoded
from airserve.client.link.paths import Paths
from tests.conftest import airserve, publish, start_service
from tests.models_for_tests import save_slow

CALLS = 3


def test_attempts_on_two_connections_at_once_are_charged_once(tmp_path: Path) -> None:
    publish(tmp_path / "state", {"slow": save_slow(tmp_path / "slow.onnx")})
    service = start_service(tmp_path / "state", "--no-demo")
    ready = service.ready

    async def run() -> set[str]:
        paths = Paths(ready["url"], "auto", ready["ca"], None, seed=0)
        settings = Settings(ready["url"], ready["key"], None, 0)
        kinds = set()
        for number in range(CALLS):
            x = np.full(1, float(number + 1), np.float32)
            request = infer_request("slow", {"x": x}, version=None, outputs=None, call_id=new_call_id())
            # No patience at all: the second way is tried while the first one has hardly begun.
            response, trip = await paths.send(request, settings.headers(request, None), 30.0, 0.0)
            assert response.status == 200
            assert outputs_of(response, decoded)["y"] == number + 1
            kinds.add(trip.kind)
        await paths.close()
        return kinds

    assert asyncio.run(run()) <= {"2", "3"}
    assert service.stop() == 0
    rows = airserve("usage", "--state-dir", str(tmp_path / "state"), "--json")
    assert sum(row["ok"] for row in rows if row["model"] == "slow") == CALLS, json.dumps(rows)
