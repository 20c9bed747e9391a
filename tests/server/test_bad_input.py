"""Each bad input gets its status and a sentence, and the service goes on serving others."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Service
from tests.server.wire import infer, send

GOOD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
INFER = "/v2/models/linear/infer"


def with_input(**changes: object) -> dict[str, object]:
    return {"inputs": [{**GOOD["inputs"][0], **changes}]}


@pytest.fixture(autouse=True)
def the_service_goes_on(service: Service) -> Iterator[None]:
    yield
    answer = infer(service)
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "protocol"),
        (b"{}", "inputs"),
        (b"\xff\xfe\x00", "JSON"),
        (b'{"inputs": [{"name":"x","datatype":"FP32","shape":[1,4],"data":' + b"[" * 100_000, "nested too deeply"),
        (json.dumps(with_input(data=1)).replace('"data": 1', '"data": ' + "[" * 900 + "]" * 900).encode(), "'data'"),
        (json.dumps(with_input(datatype="INT32")).encode(), "data-type is 'INT32'"),
        (json.dumps(with_input(datatype="FP99")).encode(), "data-type is 'FP99'"),
        (json.dumps(with_input(shape=[1, 5], data=[0] * 5)).encode(), "Expected [-1,4], got [1,5]"),
        (json.dumps(with_input(shape=[-1, 4])).encode(), "negative"),
        (json.dumps(with_input(shape=[1 << 62, 4])).encode(), "exceed"),
        (json.dumps(with_input(shape=[1 << 70, 4])).encode(), "shape"),
        (json.dumps(with_input(shape=[65, 4], data=[0] * 260)).encode(), "batch-size must be <= 64"),
        (json.dumps(with_input(shape=[0, 4], data=[])).encode(), "batch-size must be >= 1"),
        (json.dumps(with_input(data=[1, 2, 3])).encode(), "true shape"),
        (json.dumps(with_input(data=["a", "b", "c", "d"])).encode(), "FP32"),
        (json.dumps(with_input(name="z")).encode(), "unexpected inference input 'z'"),
        (json.dumps({"inputs": []}).encode(), "missing required input(s)"),
        (json.dumps({**GOOD, "outputs": [{"name": "q"}]}).encode(), "unexpected inference output 'q'"),
        (json.dumps({**GOOD, "parameters": {"triton_x": 1}}).encode(), "reserved"),
    ],
)
def test_malformed_and_unfitting_requests_are_400(service: Service, body: bytes, words: str) -> None:
    answer = send(service, INFER, body)
    assert answer.status == 400, answer.body
    assert words in answer.error
    assert "Traceback" not in answer.error


@pytest.mark.parametrize(
    ("claimed", "raw", "words"),
    [
        (16, b"\0" * 15, "expecting 1 additional bytes"),
        (16, b"\0" * 17, "unexpected additional input data"),
        (12, b"\0" * 12, "byte size mismatch"),
        (1 << 62, b"\0" * 16, "additional bytes"),
        (-1, b"\0" * 16, "binary_data_size"),
    ],
)
def test_lying_lengths_in_the_binary_extension_are_400(service: Service, claimed: int, raw: bytes, words: str) -> None:
    head = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": claimed}}
    text = json.dumps({"inputs": [head]}).encode()
    headers = {**service.headers, "inference-header-content-length": str(len(text))}
    answer = send(service, INFER, text + raw, headers=headers)
    assert answer.status == 400
    assert words in answer.error


@pytest.mark.parametrize("length", ["999999", "-1", "x", "1e3", "9" * 40])
def test_a_header_length_out_of_range_is_400(service: Service, length: str) -> None:
    headers = {**service.headers, "inference-header-content-length": length}
    answer = send(service, INFER, json.dumps(GOOD).encode(), headers=headers)
    assert answer.status == 400
    assert "inference header size should be in range" in answer.error


def test_unknown_models_and_versions_begin_with_the_words_that_clients_look_for(service: Service) -> None:
    for path in ("/v2/models/nobody/infer", "/v2/models/linear/versions/9/infer", "/v2/models/linear@staging/infer"):
        answer = send(service, path, json.dumps(GOOD).encode())
        assert answer.status == 404
        assert answer.error.startswith("Request for unknown model")


def test_an_unknown_route_is_404_and_a_wrong_method_405(service: Service) -> None:
    assert send(service, "/nothing").status == 404
    assert send(service, "/v2/models/linear/infer").status == 405
    assert send(service, "/v2/models/linear/trace/setting").status == 501


def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(service: Service) -> None:
    answer = send(service, INFER, b"x" * 1_000_001)
    assert answer.status == 413
    assert "1000000" in answer.error
    port = int(service.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        try:
            for _ in range(20):
                raw.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            raw.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        assert b" 413 " in raw.recv(1000).split(b"\r\n")[0]


def test_a_chunked_body_is_read(service: Service) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    body = json.dumps(GOOD).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode()
        )
        for byte in range(0, len(body), 7):
            piece = body[byte : byte + 7]
            raw.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        raw.sendall(b"0\r\n\r\n")
        assert b" 200 " in raw.recv(1000).split(b"\r\n")[0]


def test_a_gzip_bomb_is_413_and_damaged_gzip_400(service: Service) -> None:
    headers = {**service.headers, "content-encoding": "gzip"}
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert send(service, INFER, bomb, headers=headers).status == 413
    assert send(service, INFER, bomb[:-10], headers=headers).status in (400, 413)
    assert send(service, INFER, b"no gzip", headers=headers).status == 400
    assert send(service, INFER, gzip.compress(json.dumps(GOOD).encode()), headers=headers).status == 200
    answer = send(service, INFER, b"x", headers={**service.headers, "content-encoding": "br"})
    assert answer.status == 415


def test_a_model_that_raises_fails_its_own_call_alone(service: Service) -> None:
    document = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [99]}]}
    answer = infer(service, "failing", document)
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "model_failed"
    document["inputs"][0]["data"] = [3]
    assert json.loads(infer(service, "failing", document).body)["outputs"][0]["data"] == [3]


@pytest.mark.parametrize("timeout", ["0", "-5", "soon", "1e3", "99999999999"])
def test_a_timeout_that_is_none_is_400(service: Service, timeout: str) -> None:
    answer = infer(service, airserve_timeout_ms=timeout)
    assert answer.status == 400
    assert "Airserve-Timeout-Ms" in answer.error


def test_a_deadline_that_cannot_be_met_is_refused_early_or_late_and_costs_nothing(service: Service) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    answer = infer(service, "slow", document, airserve_timeout_ms="1")
    assert answer.status in (503, 504)
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    in_the_protocol = {**document, "parameters": {"timeout": 1000}}
    assert infer(service, "slow", in_the_protocol).status in (503, 504)


def test_a_full_queue_is_503_with_the_time_to_come_back(service: Service) -> None:
    from concurrent.futures import ThreadPoolExecutor

    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    with ThreadPoolExecutor(90) as pool:
        answers = list(pool.map(lambda _: infer(service, "slow", document), range(90)))
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert len(refused) + sum(answer.status == 200 for answer in answers) == 90
    assert all("maximum queue size" in answer.error and "retry-after" in answer.headers for answer in refused)
