from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from tests.conftest import Service, airserve, publish, start_service
from tests.models_for_tests import save_slow


def test_calls_whose_clients_have_gone_free_their_work_and_cost_nothing(tmp_path: Path) -> None:

    folder = tmp_path
    publish(folder / "state", {"slow": save_slow(folder / "slow.onnx")})
    service: Service = start_service(folder / "state", "--no-demo")
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}).encode()
    request = (
        f"POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    port = int(service.url.rsplit(":", 1)[1])
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    for each in sockets:
        each.sendall(request)
    time.sleep(0.15)
    for each in sockets:
        each.close()
    time.sleep(1.0)
    assert service.stop() == 0
    rows = airserve("usage", "--state-dir", str(folder / "state"), "--json")
    answered, gone = sum(row["ok"] for row in rows), sum(row["cancelled"] for row in rows)
    assert answered + gone == 30
    assert gone >= 15
