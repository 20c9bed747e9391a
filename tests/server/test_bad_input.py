"""Every bad input gets its status and a sentence, costs nothing, leaves no trace, and the service goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2

from airserve.accounts.key_format import KeyKind, new_key
from tests.conftest import Service
from tests.server.bad_inputs import BOMB, CANARY, CASES, GOOD, RAW, V2, Case, Raw
from tests.server.h2_wire import H2Wire
from tests.server.processes import resident_bytes
from tests.server.wire import infer


@pytest.fixture(scope="module")
def tenant(service: Service) -> Iterator[str]:
    """The key of a tenant that only sends what is bad: it pays nothing for it, and nothing of it is kept."""
    service.run("tenants", "create", "hostile")
    key = str(service.run("keys", "create", "hostile")["key"])
    end = time.monotonic() + 10
    while httpx.get(f"{service.url}/v2", headers={"authorization": f"Bearer {key}"}).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
    before = resident_bytes(service.process.pid)
    yield key
    assert resident_bytes(service.process.pid) < before * 1.2 + (64 << 20)
    for row in service.run("usage", "--tenant", "hostile"):
        assert (row["ok"], row["failed"], row["partial"], row["amount_nano"]) == (0, 0, 0, 0), row
    assert CANARY not in log_of(service).read_text()
    for file in service.state_dir.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


def log_of(service: Service) -> Path:
    return service.state_dir.parent / f"{service.state_dir.name}.log"


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2"])
def client(service: Service, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    two = request.param == "HTTP/2"
    with httpx.Client(base_url=service.url, http1=not two, http2=two, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def the_service_goes_on(service: Service) -> Iterator[None]:
    yield
    answer = infer(service)
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"][0]["data"] == [2, 4, 6, 8]


def key_of(case: Case, tenant: str) -> str | None:
    swapped = tenant[:-1] + ("a" if tenant[-1] != "a" else "b")
    known = {"tenant": tenant, "mistyped": swapped, "unknown": new_key(KeyKind.TENANT, os.urandom)}
    return None if case.key is None else known.get(case.key, case.key)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.path.split('/')[1]}-{case.what}")
def test_it_is_refused_with_a_sentence(client: httpx.Client, tenant: str, case: Case) -> None:
    key = key_of(case, tenant)
    headers = {**case.headers, **({} if key is None else {"authorization": f"Bearer {key}"})}
    path = case.path.replace("KEY", tenant)
    try:
        answer = client.request(case.method, path, content=case.body, headers=headers)
    except httpx.LocalProtocolError:
        # Answered before all was sent, and the stream ended (RFC 9113, section 8.1): httpx may take that for a mistake.
        answer = client.request(case.method, path, content=case.body, headers=headers)
    assert answer.status_code == case.status, answer.text[:500]
    sentence = sentence_of(case.path, answer)
    assert case.words in sentence
    assert len(sentence) < 500
    assert "Traceback" not in answer.text
    if case.status == 405:
        assert set(case.words.split(", ")) <= set(answer.headers["allow"].split(", "))
    if case.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def sentence_of(path: str, answer: httpx.Response) -> str:
    """The sentence of an error in the form of the protocol that was spoken."""
    document: dict[str, Any] = json.loads(answer.content)
    if not path.startswith("/v1"):
        assert set(document) >= {"error", "code"}
        return str(document["error"])
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-should-retry"] == "false"
    return str(document["error"]["message"])


@pytest.mark.parametrize("case", RAW, ids=lambda case: f"{case.row}-{case.what}")
def test_bytes_that_no_library_would_send(service: Service, tenant: str, case: Raw) -> None:
    received = exchange(service, case.sent.replace(b"KEY", tenant.encode()))
    assert int(re.findall(rb"HTTP/1\.1 (\d{3}) ", received)[-1]) == case.status, received[:300]
    assert json.loads(received.rpartition(b"\r\n\r\n")[2])["error"]


@dataclass(frozen=True)
class Message:
    """A call over gRPC, and the status and words of its refusal."""

    row: int
    what: str
    status: str
    words: str
    change: Callable[[service_pb2.ModelInferRequest], object]


def raw(*tensors: bytes) -> Callable[[service_pb2.ModelInferRequest], object]:
    """The same request with `tensors` as its raw contents."""

    def change(request: service_pb2.ModelInferRequest) -> None:
        del request.raw_input_contents[:]
        request.raw_input_contents.extend(tensors)

    return change


def shape(*sizes: int) -> Callable[[service_pb2.ModelInferRequest], object]:
    """The same request with another shape of its input."""

    def change(request: service_pb2.ModelInferRequest) -> None:
        del request.inputs[0].shape[:]
        request.inputs[0].shape.extend(sizes)

    return change


MESSAGES = [
    Message(33, "a path for a name", "NOT_FOUND", "unknown model", lambda m: setattr(m, "model_name", "../x")),
    Message(34, "version -1", "NOT_FOUND", "unknown model", lambda m: setattr(m, "model_version", "-1")),
    Message(37, "no input", "INVALID_ARGUMENT", "missing required input", lambda m: m.ClearField("inputs")),
    Message(37, "an input twice", "INVALID_ARGUMENT", "given twice", lambda m: m.inputs.append(m.inputs[0])),
    Message(38, "20,000 outputs", "INVALID_ARGUMENT", "twice",
            lambda m: m.outputs.extend([service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="y")] * 20_000)),
    Message(39, "another datatype", "INVALID_ARGUMENT", "expects", lambda m: setattr(m.inputs[0], "datatype", "FP64")),
    Message(39, "an unknown one", "INVALID_ARGUMENT", "data-type", lambda m: setattr(m.inputs[0], "datatype", CANARY)),
    Message(41, "a negative size", "INVALID_ARGUMENT", "negative", shape(-1, 4)),
    Message(42, "an overflow", "INVALID_ARGUMENT", "exceed", shape(1 << 62, 4)),
    Message(44, "90,000 axes of 2^62", "INVALID_ARGUMENT", "unexpected shape", shape(*[1 << 62] * 90_000)),
    Message(45, "a byte too many", "INVALID_ARGUMENT", "byte size mismatch", raw(b"\0" * 17)),
    Message(45, "a byte too few", "INVALID_ARGUMENT", "byte size mismatch", raw(b"\0" * 15)),
    Message(52, "contents of no input", "INVALID_ARGUMENT", "additional input data", raw(b"\0" * 16, b"\0")),
    Message(54, "shared memory", "UNIMPLEMENTED", "shared memory is not offered",
            lambda m: m.inputs[0].parameters["shared_memory_region"].CopyFrom(
                service_pb2.InferParameter(string_param=CANARY))),
    Message(57, "an id of 500 KB", "INVALID_ARGUMENT", "'id' is", lambda m: setattr(m, "id", "x" * 500_000)),
    Message(57, "a bell in the id", "INVALID_ARGUMENT", "'id' is", lambda m: setattr(m, "id", "\a")),
    Message(84, "a message over the limit", "RESOURCE_EXHAUSTED", "larger than", raw(b"\0" * 1_000_001)),
]  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: f"{case.row}-{case.what}")
def test_messages_are_refused_with_a_sentence(service: Service, tenant: str, case: Message) -> None:
    request = service_pb2.ModelInferRequest(model_name="linear", id=CANARY, raw_input_contents=[b"\0" * 16])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    case.change(request)
    error = refusal(service, tenant, request.SerializeToString())
    assert (error.code().name, case.words in error.details()) == (case.status, True), error.details()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT"),
        (CANARY.encode() * 100, "INVALID_ARGUMENT"),
        (b"\x0a\xff\xff\xff\xff\x0f", "INVALID_ARGUMENT"),
        (b"", "NOT_FOUND"),
    ],
)
def test_what_is_no_message_is_refused(service: Service, tenant: str, sent: bytes, status: str) -> None:
    assert refusal(service, tenant, sent).code().name == status


def refusal(service: Service, key: str, sent: bytes) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(service)}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as raised:
            infer(sent, metadata=(("authorization", f"Bearer {key}"),), timeout=20)
    return raised.value


@pytest.mark.parametrize(
    ("what", "encoding", "body", "words"),
    [
        ("an unknown compressor", "snappy", b"\1\0\0\0\1x", "unknown compression"),
        ("a compressed message without a compressor", "identity", b"\1\0\0\0\1x", "without compression"),
        ("a length of 4 GB", "identity", b"\0\xff\xff\xff\xff", "larger than"),
        ("a message that is cut off", "identity", b"\0\0\0\1\0x", "promised 256 bytes"),
        ("unknown flags", "identity", b"\7\0\0\0\1x", "invalid envelope flags"),
        ("a gzip bomb", "gzip", b"\1" + len(BOMB).to_bytes(4, "big") + BOMB, "larger than"),
    ],
    # Every process that collects this has to come to the same names, and gzip's bytes have the time in them.
    ids=lambda value: "body" if isinstance(value, bytes) else None,
)
def test_frames_that_no_grpc_library_would_send(
    service: Service, tenant: str, what: str, encoding: str, body: bytes, words: str
) -> None:
    headers = {"authorization": f"Bearer {tenant}", "content-type": "application/grpc", "te": "trailers",
               "grpc-encoding": encoding}  # fmt: skip
    with H2Wire(port_of(service)) as wire:
        answer = wire.answer("POST", "/inference.GRPCInferenceService/ModelInfer", headers, body)
    assert answer[":status"] == "200"
    assert words in unquote(answer["grpc-message"])
    assert answer["grpc-status"] in ("3", "8", "12", "13")


def exchange(service: Service, sent: bytes) -> bytes:
    """All that comes back until the service hangs up: it does so after each of these, so nothing is smuggled."""
    received = b""
    with socket.create_connection(("127.0.0.1", port_of(service)), timeout=20) as raw:
        with contextlib.suppress(ConnectionError):  # the refusal may come before the end
            raw.sendall(sent)
        raw.settimeout(5)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := raw.recv(65536):
                received += piece
    return received


def port_of(service: Service) -> int:
    return int(service.url.rsplit(":", 1)[1])


def test_a_chunked_body_is_read(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", port_of(service)), timeout=20) as raw:
        raw.sendall(
            f"POST {V2} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode()
        )
        for byte in range(0, len(GOOD), 7):
            piece = GOOD[byte : byte + 7]
            raw.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        raw.sendall(b"0\r\n\r\n")
        assert b" 200 " in raw.recv(1000).split(b"\r\n")[0]


def test_a_model_that_raises_fails_its_own_call_alone(service: Service) -> None:
    document = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [99]}]}
    answer = infer(service, "failing", document)
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "model_failed"
    document["inputs"][0]["data"] = [3]
    assert json.loads(infer(service, "failing", document).body)["outputs"][0]["data"] == [3]


def test_a_deadline_that_cannot_be_met_is_refused_early_or_late_and_costs_nothing(service: Service) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    answer = infer(service, "slow", document, airserve_timeout_ms="1")
    assert answer.status in (503, 504)
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    in_the_protocol = {**document, "parameters": {"timeout": 1000}}
    assert infer(service, "slow", in_the_protocol).status in (503, 504)


def test_a_full_queue_is_503_with_the_time_to_come_back(service: Service) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    with ThreadPoolExecutor(90) as pool:
        answers = list(pool.map(lambda _: infer(service, "slow", document), range(90)))
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert len(refused) + sum(answer.status == 200 for answer in answers) == 90
    assert all("maximum queue size" in answer.error and "retry-after" in answer.headers for answer in refused)
