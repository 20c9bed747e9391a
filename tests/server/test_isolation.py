"""What one tenant sends is seen by nobody else: not by another tenant, not by the operator, not on the disk."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnx import TensorProto
from tritonclient.grpc import service_pb2

from tests.conftest import Service, publish, start_service
from tests.models_for_tests import save_echo, save_failing, save_linear, save_slow
from tests.server.processes import family_of
from tests.server.test_hostile import port_of
from tests.server.wire import Answer, send


@dataclass(frozen=True)
class House:
    """A service of two tenants: what `mine` sends, `other` and the operator must not see."""

    service: Service
    mine: str
    other: str

    @property
    def operator(self) -> str:
        return str(self.service.ready["operator_key"])

    def ask(self, key: str, path: str, document: object = None, **headers: str) -> Answer:
        body = None if document is None else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(self.service, path, body, headers={"authorization": f"Bearer {key}", **named})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("isolation")
    models = {
        "linear": save_linear(folder / "linear.onnx"),
        "slow": save_slow(folder / "slow.onnx"),
        "failing": save_failing(folder / "failing.onnx"),
        "text": save_echo(folder / "text.onnx", TensorProto.STRING, "batch"),
        "floats": save_echo(folder / "floats.onnx", TensorProto.FLOAT, "batch", 64),
    }
    publish(folder / "state", models)
    running = start_service(folder / "state", "--no-demo", "--log-level", "debug")
    keys = []
    for tenant in ("mine", "other"):
        running.run("tenants", "create", tenant)
        keys.append(str(running.run("keys", "create", tenant)["key"]))
    house = House(running, *keys)
    end = time.monotonic() + 10
    while any(house.ask(key, "/v2").status != 200 for key in keys):
        assert time.monotonic() < end
        time.sleep(0.02)
    yield house
    assert running.stop() == 0


def text(canary: str) -> dict[str, object]:
    return {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [canary]}]}


def plant(house: House, canary: str) -> None:
    """Send `canary` in every place that a call has: contents, names, ids, parameters, refused ones and good ones."""
    mine, good = house.mine, text(canary)
    assert canary in house.ask(mine, "/v2/models/text/infer", good).body.decode()
    assert canary in house.ask(mine, "/v2/models/text/infer", {**good, "id": canary}).body.decode()
    labelled = {"airserve_call_id": canary, "x_request_id": canary}
    assert house.ask(mine, "/v2/models/text/infer", good, **labelled).headers["x-request-id"] == canary
    assert canary in house.ask(mine, "/models/text", [canary]).body.decode()
    assert canary in house.ask(mine, "/v2/models/text/generate", {"text_input": canary}).body.decode()
    refused = [
        ("/v2/models/text/infer", {"inputs": [{**good["inputs"][0], "name": canary}]}),  # type: ignore[index]
        ("/v2/models/text/infer", {**good, "outputs": [{"name": canary}]}),
        ("/v2/models/linear/infer", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [canary]}]}),
        (f"/v2/models/{canary}/infer", good),
        (f"/v2/models/text/versions/{canary}/infer", good),
        (f"/models/{canary}?{canary}", [canary]),
        ("/models/linear", [{canary: 1}]),
        ("/v1/chat/completions", {"model": "text", "messages": [{"role": "user", "content": canary}]}),
        ("/v1/chat/completions", {"model": canary, "user": canary, canary: 1}),
        ("/v1/embeddings", {"model": "text", "input": canary}),
        (f"/{canary}", canary),
    ]
    for path, document in refused:
        assert house.ask(mine, path, document).status >= 400, path
    with grpc.insecure_channel(f"127.0.0.1:{port_of(house.service)}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        message = service_pb2.ModelInferRequest(model_name="text", id=canary)
        message.inputs.add(name="x", datatype="BYTES", shape=[1]).contents.bytes_contents.append(canary.encode())
        metadata = (("authorization", f"Bearer {mine}"), ("canary", canary))
        assert canary.encode() in infer(message.SerializeToString(), metadata=metadata)
        message.inputs[0].name = canary
        with pytest.raises(grpc.RpcError):
            infer(message.SerializeToString(), metadata=metadata)


PAGES = (
    "/v2", "/v2/models", "/v2/models/text", "/v2/models/text/config", "/v2/models/text/stats", "/v2/models/stats",
    "/v2/health/ready", "/models", "/models/text", "/v1/models", "/v1/models/text", "/openapi.json", "/metrics",
)  # fmt: skip


def test_what_one_sends_is_in_nothing_that_others_see(house: House) -> None:
    canary = f"canary-{secrets.token_hex(12)}"
    plant(house, canary)
    seen = []
    for key in (house.other, house.operator):
        seen += [house.ask(key, path) for path in PAGES]
        seen.append(house.ask(key, "/v2/repository/index", {}))
        seen.append(house.ask(key, "/v2/models/text/infer", text("mine")))
        seen.append(house.ask(key, "/v2/models/text/infer", {"inputs": []}))
        seen.append(house.ask(key, "/v1/chat/completions", {"model": "text", "messages": []}))
    assert sum(answer.status == 200 for answer in seen) > 20
    for answer in seen:
        assert canary not in answer.body.decode() + json.dumps(answer.headers)
    for command in (["usage"], ["tenants", "list"], ["keys", "list"], ["models", "list"]):
        assert canary not in json.dumps(house.service.run(*command))


def test_what_one_sends_is_nowhere_on_the_disk(house: House) -> None:
    canary = f"canary-{secrets.token_hex(12)}"
    plant(house, canary)
    house.service.run("usage")
    state = house.service.state_dir
    files = [file for file in (*state.parent.glob("state*"), *state.rglob("*"), *temporary(house)) if file.is_file()]
    assert any(file.suffix == ".wal" and file.stat().st_size for file in files)
    assert state.parent / "state.log" in files
    for file in files:
        assert canary.encode() not in file.read_bytes(), file


def temporary(house: House) -> Iterator[Path]:
    """The files that the processes of the service have open, wherever they are."""
    for pid in family_of(house.service.process.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                file = link.resolve()
            except OSError:
                continue
            if file.is_file() and not file.is_relative_to("/dev"):
                yield file


def test_rows_of_one_batch_go_each_to_their_own_caller(house: House) -> None:
    """Both tenants call one model at once, so that their rows share batches; every answer is its own call's."""
    batched = []

    def call(number: int) -> None:
        row = [float(number), -float(number), number * 0.5, 1.0]
        document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": row}]}
        key = house.mine if number % 2 else house.other
        answer = house.ask(key, "/v2/models/linear/infer", document)
        assert answer.status == 200
        assert json.loads(answer.body)["outputs"][0]["data"] == [2 * value for value in row]
        batched.append(int(answer.headers["airserve-batch-rows"]))

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(call, range(600)))
    assert max(batched) > 1


def test_a_neighbours_failure_is_told_to_its_own_caller_alone(house: House) -> None:
    """The batch of a call that fails runs again without it; nobody else hears of its input."""
    failed: list[Answer] = []
    ended = threading.Event()

    def fail() -> None:
        while not ended.is_set():
            document = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [987654321]}]}
            failed.append(house.ask(house.mine, "/v2/models/failing/infer", document))

    def call(number: int) -> Answer:
        document = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [number % 4]}]}
        return house.ask(house.other, "/v2/models/failing/infer", document)

    with ThreadPoolExecutor(16) as pool:
        failing = [pool.submit(fail) for _ in range(4)]
        answers = list(pool.map(call, range(300)))
        ended.set()
        for each in failing:
            each.result()
    assert {answer.status for answer in failed} == {500}
    assert all("987654321" not in answer.body.decode() for answer in answers)
    for number, answer in enumerate(answers):
        assert answer.status == 200, answer.body
        assert json.loads(answer.body)["outputs"][0]["data"] == [number % 4]


def test_no_answer_holds_what_another_call_left_in_memory(house: House) -> None:
    """Batches of changing size, over buffers that held another tenant's rows: every bit is the call's own."""
    planted = np.full((64, 64), 1234.5625, np.float32)
    for rows in (64, 1, 33, 2, 64, 5):
        mine = binary(house, house.mine, planted[:rows])
        assert np.array_equal(mine, planted[:rows])
        given = np.arange(rows * 64, dtype=np.float32).reshape(rows, 64)
        assert np.array_equal(binary(house, house.other, given), given)
        # A body that comes late lies in a buffer that nobody has cleared: nothing of it is read before all is there.
        assert np.array_equal(binary(house, house.other, given, slowly=True), given)


def binary(house: House, key: str, rows: np.ndarray, *, slowly: bool = False) -> np.ndarray:  # type: ignore[type-arg]
    given = {"name": "x", "datatype": "FP32", "shape": rows.shape, "parameters": {"binary_data_size": rows.nbytes}}
    document = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = {"authorization": f"Bearer {key}", "inference-header-content-length": str(len(document))}
    path, body = "/v2/models/floats/infer", document + rows.tobytes()
    answer = (in_pieces if slowly else send)(house.service, path, body, headers=headers)
    assert answer.status == 200, answer.body
    start = int(answer.headers["inference-header-content-length"])
    assert len(answer.body) - start == rows.nbytes
    return np.frombuffer(answer.body[start:], "<f4").reshape(rows.shape)


def in_pieces(service: Service, path: str, body: bytes, *, headers: dict[str, str]) -> Answer:
    """Head, half of the body and the rest, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(service), timeout=20)
    with contextlib.closing(connection):
        connection.putrequest("POST", path)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            time.sleep(0.05)
            connection.send(piece)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
