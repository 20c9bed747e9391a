from __future__ import annotations

import gzip
import io
import json
import time

import numpy as np
import pytest

from tests.conftest import Service
from tests.server.wire import Answer, send


def post(service: Service, path: str, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(service, path, body, headers={"content-type": "", **service.headers, **named})


def npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_rows_go_in_and_rows_come_out(service: Service) -> None:
    answer = post(service, "/models/linear", b"[[1, 2, 3, 4], [5, 6, 7, 8]]")
    assert answer.status == 200, answer.error
    assert json.loads(answer.body) == [{"y": [2, 4, 6, 8]}, {"y": [10, 12, 14, 16]}]
    assert answer.headers["content-type"] == "application/json"
    assert "compute;dur=" in answer.headers["server-timing"] and answer.headers["airserve-batch-rows"] == "2"


def test_every_form_goes_in_and_comes_out(service: Service) -> None:
    file = npy(np.arange(4))
    for body in (b"[0, 1, 2, 3]", b'{"x": [0, 1, 2, 3]}', file):
        assert post(service, "/models/linear", body, accept="text/plain").body == b"0 2 4 6\n"
        binary = post(service, "/models/linear", body, accept="application/x-npy")
        np.testing.assert_array_equal(np.load(io.BytesIO(binary.body)), [0, 2, 4, 6])
    assert post(service, "/models/linear", gzip.compress(file), content_encoding="gzip").status == 200


def test_named_columns_of_a_trained_model_are_taken(service: Service) -> None:
    description = json.loads(send(service, "/models/digits").body)
    row = dict.fromkeys(description["columns"], 0.0)
    assert len(row) == 64
    answer = post(service, "/models/digits/versions/1", json.dumps([row]).encode())
    (said,) = json.loads(answer.body)
    assert said["label"] in description["labels"] and len(said["probabilities"]) == 10


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/models/linear", b"[[1, 2]]", {}, 400, "unexpected shape"),
        ("/models/linear", b"hello", {}, 415, "cannot be told"),
        ("/models/linear", b"\xff\xd8\xff", {"content-type": "image/jpeg"}, 415, "no pictures"),
        ("/models/linear", b"[1,2,3,4]", {"accept": "text/html"}, 406, "application/json"),
        ("/models/linear", b"[1,2,3,4]", {"content-encoding": "br"}, 415, "gzip"),
        ("/models/nothing", b"[1]", {}, 404, "unknown model"),
        ("/models/linear/versions/9", b"[1]", {}, 404, "version 9"),
        ("/models/linear/infer", b"[1]", {}, 404, "POST /models/NAME"),
        ("/models/failing", b"[9]", {}, 500, "failed on this input"),
        ("/models/linear", b"x" * 1_000_001, {}, 413, "1000000"),
    ],
)
def test_a_refusal_says_why(
    service: Service, path: str, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    answer = send(service, path, body, headers={"content-type": "", **service.headers, **headers})
    assert answer.status == status and words in answer.error


def test_nothing_is_told_or_computed_without_a_key(service: Service) -> None:
    for body in (None, b"[1, 2, 3, 4]"):
        assert send(service, "/models/linear", body, headers={}).status == 401
    assert send(service, "/models", headers={}).status == 401


def test_a_key_sees_and_calls_only_its_models(service: Service) -> None:
    scoped = service.run("keys", "create", "demo", "--models", "linear")["key"]
    headers = {"authorization": f"Bearer {scoped}", "content-type": ""}
    end = time.monotonic() + 10
    while (listed := send(service, "/models", headers=headers)).status == 401 and time.monotonic() < end:
        time.sleep(0.02)
    assert [model["name"] for model in json.loads(listed.body)["models"]] == ["linear"]
    assert send(service, "/models/linear", b"[1,2,3,4]", headers=headers).status == 200
    assert send(service, "/models/digits", b"[1]", headers=headers).status == 403
    assert send(service, "/models/digits", headers=headers).status == 403


def test_a_wrong_method_is_405_with_the_right_ones(service: Service) -> None:
    answer = send(service, "/models/linear", method="DELETE")
    assert answer.status == 405 and answer.headers["allow"] == "GET, POST"


def test_a_call_without_time_is_504(service: Service) -> None:
    assert post(service, "/models/slow", b"[1]", airserve_timeout_ms="1").status in (503, 504)
