"""The Open Inference Protocol over REST, beyond one inference: through Triton's and KServe's clients, and by hand."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from airserve.cli.first_start import EXAMPLE_EIGHT
from tests.conftest import Service, publish, start_service
from tests.models_for_tests import save_echo, save_linear, save_slow, save_wide
from tests.server.wire import infer, send

DURATIONS = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"
)  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose models may be loaded and unloaded, with room for two of the three wide ones at once."""
    folder = tmp_path_factory.mktemp("own")
    models = {
        "linear": save_linear(folder / "linear.onnx"),
        "slow": save_slow(folder / "slow.onnx"),
        "text": save_echo(folder / "text.onnx", TensorProto.STRING, "batch"),
        "half": save_echo(folder / "half.onnx", TensorProto.FLOAT16, "batch", 4),
        "free": save_echo(folder / "free.onnx", TensorProto.FLOAT, "batch", "free"),
        "two": save_echo(folder / "two.onnx", TensorProto.INT64, 2),
        **{f"wide{number}": save_wide(folder / f"wide{number}.onnx", 500, number) for number in (1, 2, 3)},
    }
    publish(folder / "state", models)
    (folder / "state" / "settings.toml").write_text('model_memory_mb = 3.2\nload_models = "start"\n')
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(own: Service) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(own.url.removeprefix("http://"))
    yield client
    client.close()


def operator(service: Service) -> dict[str, str]:
    return {"authorization": f"Bearer {service.ready['operator_key']}"}


def tensor(array: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput("x", list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def weights_of(service: Service, model: str) -> Path:
    manifests = (service.state_dir / "store").glob("*/airserve.toml")
    (found,) = [path for path in manifests if f'name = "{model}"' in path.read_text().splitlines()]
    return found.with_name("model.onnx")


def linear(service: Service, client: triton.InferenceServerClient, rows: int = 1) -> Any:
    return client.infer("linear", [tensor(np.ones((rows, 4), np.float32), "FP32")], headers=service.headers)


def test_the_configuration_is_a_model_config_of_tritons(own: Service, client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("linear", headers=own.headers)
    assert config["max_batch_size"] == 64
    tensor = {"name": "x", "data_type": "TYPE_FP32", "dims": [4], "is_shape_tensor": False}
    assert config["input"] == [{**tensor, "optional": False}]
    assert config["platform"] == "onnxruntime_onnx"
    assert "dynamic_batching" in config
    alone = client.get_model_config("two", model_version="1", headers=own.headers)
    assert (alone["max_batch_size"], alone["output"][0]["dims"]) == (0, [2])
    assert "dynamic_batching" not in alone
    assert client.get_model_config("text", headers=own.headers)["input"][0]["data_type"] == "TYPE_STRING"


def test_statistics_count_requests_rows_and_runs(own: Service, client: triton.InferenceServerClient) -> None:
    before = client.get_inference_statistics("linear", headers=own.headers)["model_stats"][0]
    linear(own, client, 3)
    linear(own, client, 8)
    assert infer(own, "linear", Airserve_Timeout_Ms="0.001").status in (503, 504)
    (after,) = client.get_inference_statistics("linear", "1", headers=own.headers)["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 11
    assert after["execution_count"] - before["execution_count"] == 2
    for name in DURATIONS:
        assert set(after["inference_stats"][name]) == {"count", "ns"}, name
    grown = {
        name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"] for name in DURATIONS
    }
    assert grown == {**dict.fromkeys(DURATIONS, 2), "fail": 1, "cache_hit": 0, "cache_miss": 0}
    by_size = {each["batch_size"]: each["compute_infer"]["count"] for each in after["batch_stats"]}
    assert by_size[3] >= 1
    assert by_size[8] >= 1
    assert abs(after["last_inference"] / 1000 - time.time()) < 60
    assert after["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": weights_of(own, "linear").stat().st_size}]
    every = client.get_inference_statistics(headers=own.headers)["model_stats"]
    assert {each["name"] for each in every} >= {"linear", "text", "two"}


def test_only_models_that_the_key_opens_are_listed_and_counted(own: Service) -> None:
    own.run("tenants", "create", "reader")
    made = own.run("keys", "create", "reader", "--models", "text")
    headers = {"authorization": f"Bearer {made['key']}"}
    end = time.monotonic() + 10
    while (answer := send(own, "/v2/models", headers=headers)).status == 401 and time.monotonic() < end:
        time.sleep(0.05)
    assert json.loads(answer.body) == {"models": ["text"]}
    counted = json.loads(send(own, "/v2/models/stats", headers=headers).body)["model_stats"]
    assert [each["name"] for each in counted] == ["text"]
    for path in ("config", "stats"):
        assert send(own, f"/v2/models/linear/{path}", headers=headers).status == 403
    assert send(own, "/v2/models", headers={}).status == 401
    assert "linear" in json.loads(send(own, "/v2/models", headers=operator(own)).body)["models"]


def test_an_operator_sees_unloads_and_loads_models(own: Service, client: triton.InferenceServerClient) -> None:
    headers = operator(own)
    index = {each["name"]: each for each in client.get_model_repository_index(headers=headers)}
    assert index["linear"] == {"name": "linear", "version": "1", "state": "READY", "reason": ""}
    linear(own, client)
    client.unload_model("linear", headers=headers)
    try:
        assert not client.is_model_ready("linear", headers=own.headers)
        with pytest.raises(InferenceServerException, match="is not at ready state"):
            linear(own, client)
        index = {each["name"]: each for each in client.get_model_repository_index(headers=headers)}
        assert (index["linear"]["state"], index["linear"]["reason"]) == ("UNAVAILABLE", "unloaded")
        ready = json.loads(send(own, "/v2/repository/index", b'{"ready": true}', headers=headers).body)
        assert "linear" not in {each["name"] for each in ready}
        # What was unloaded on purpose is not missed.
        assert client.is_server_ready()
    finally:
        client.load_model("linear", headers=headers)
    assert client.is_model_ready("linear", headers=own.headers)
    assert linear(own, client).as_numpy("y").tolist() == [[2.0] * 4]
    # Once more, while it is loaded.
    client.load_model("linear", headers=headers)
    linear(own, client)


def test_what_the_repository_refuses(own: Service, client: triton.InferenceServerClient) -> None:
    for call in (client.get_model_repository_index, lambda headers: client.unload_model("linear", headers=headers)):
        with pytest.raises(InferenceServerException, match="this route is the operator's"):
            call(headers=own.headers)
    headers = operator(own)
    with pytest.raises(InferenceServerException, match="'config' is not offered: a published version never changes"):
        client.load_model("linear", headers=headers, config='{"max_batch_size": "16"}')
    answer = send(
        own, "/v2/repository/models/linear/load", b'{"parameters": {"file:1/model.onnx": "AA=="}}', headers=headers
    )
    assert answer.status == 501
    assert send(own, "/v2/repository/models/linear/load", b"[", headers=headers).status == 400
    assert send(own, "/v2/repository/index", b'{"ready": 1}', headers=headers).status == 400
    with pytest.raises(InferenceServerException, match="failed to load 'nobody'"):
        client.load_model("nobody", headers=headers)
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nobody' is not found"):
        client.unload_model("nobody", headers=headers)


def test_a_failed_load_leaves_the_old_one_serving(own: Service, client: triton.InferenceServerClient) -> None:
    weights = weights_of(own, "linear")
    whole = weights.read_bytes()
    weights.write_bytes(b"damaged on the disk")
    try:
        with pytest.raises(InferenceServerException, match=r"'linear', model\.onnx does not match its checksum"):
            client.load_model("linear", headers=operator(own))
        assert linear(own, client).as_numpy("y").tolist() == [[2.0] * 4]
    finally:
        weights.write_bytes(whole)
        client.load_model("linear", headers=operator(own))


def test_models_beyond_the_memory_answer_all_the_same(own: Service, client: triton.InferenceServerClient) -> None:
    for number in (1, 2, 3, 1, 2, 3):
        x = tensor(np.ones((1, 500), np.float32), "FP32")
        assert client.infer(f"wide{number}", [x], headers=own.headers).as_numpy("y")[0, 0] == number
    index = {each["name"]: each for each in client.get_model_repository_index(headers=operator(own))}
    asleep = [each for each in index.values() if each["state"] == "UNAVAILABLE"]
    assert asleep
    assert all("its next call loads it" in each["reason"] for each in asleep)
    # It can infer, so it is ready, and says so without being loaded.
    assert client.is_model_ready(asleep[0]["name"], headers=own.headers)
    assert client.is_server_ready()


def test_classes_come_with_value_index_and_label(service: Service) -> None:
    client = triton.InferenceServerClient(service.url.removeprefix("http://"))
    for binary in (True, False):
        asked = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)]
        x = tensor(np.array([EXAMPLE_EIGHT] * 2, np.float32), "FP32")
        found = client.infer("digits", [x], outputs=asked, headers=service.headers).as_numpy("probabilities")
        assert found.shape == (2, 3)
        best = found[0, 0].decode() if binary else found[0, 0]
        value, index, label = best.split(":")
        assert (index, label) == ("8", "8")
        assert len(value.partition(".")[2]) == 6
        assert 0.5 < float(value) <= 1
    asked = [triton.InferRequestedOutput("label", class_count=1)]
    with pytest.raises(InferenceServerException, match="class result not available"):
        client.infer("digits", [x], outputs=asked, headers=service.headers)
    client.close()


def test_a_raw_request_is_the_whole_body(own: Service, client: triton.InferenceServerClient) -> None:
    body, json_size = np.float32([1, 2, 3, 4]).tobytes(), 0
    answer = send(
        own, "/v2/models/linear/infer", body,
        headers={**own.headers, "inference-header-content-length": str(json_size)},
    )  # fmt: skip
    head = int(answer.headers["inference-header-content-length"])
    assert np.frombuffer(answer.body[head:], np.float32).tolist() == [2, 4, 6, 8]
    answer = send(
        own, "/v2/models/text/infer", b"a text", headers={**own.headers, "inference-header-content-length": "0"}
    )
    assert answer.body.endswith(b"\x06\0\0\0a text")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_bodies_are_compressed_both_ways(
    own: Service, client: triton.InferenceServerClient, coding: str, binary: bool
) -> None:
    x = np.ones((64, 4), np.float32)
    result = client.infer(
        "linear", [tensor(x, "FP32", binary=binary)], headers=own.headers,
        outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
        request_compression_algorithm=coding, response_compression_algorithm=coding,
    )  # fmt: skip
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)


def test_a_body_that_inflates_too_far_is_refused(service: Service) -> None:
    for coding, packed in (("gzip", gzip.compress(bytes(50_000_000))), ("deflate", zlib.compress(bytes(50_000_000)))):
        answer = send(
            service, "/v2/models/linear/infer", packed, headers={**service.headers, "content-encoding": coding}
        )
        assert answer.status == 413


def test_a_body_in_chunks_is_read(own: Service) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [64, 4], "data": [1.0] * 256}]}
    text = json.dumps(document).encode()
    connection = http.client.HTTPConnection(own.url.removeprefix("http://"))
    pieces = (text[at : at + 7] for at in range(0, len(text), 7))
    connection.request("POST", "/v2/models/linear/infer", pieces, own.headers, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200
    assert json.loads(response.read())["outputs"][0]["data"] == [2.0] * 256
    connection.close()


@pytest.mark.parametrize("binary", [True, False])
def test_texts_go_both_ways(own: Service, client: triton.InferenceServerClient, binary: bool) -> None:
    texts = np.array(["", "é", "many words " * 20], object)
    asked = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer("text", [tensor(texts, "BYTES", binary=binary)], outputs=asked, headers=own.headers)
    found = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("y")]
    assert found == texts.tolist()


def test_half_precision_goes_as_binary_and_is_refused_as_json(
    own: Service, client: triton.InferenceServerClient
) -> None:
    x = np.array([[1, 2, 3, 65504]], np.float16)
    np.testing.assert_array_equal(client.infer("half", [tensor(x, "FP16")], headers=own.headers).as_numpy("y"), x)
    with pytest.raises(InferenceServerException, match="sending FP16 data via JSON is not supported"):
        asked = [triton.InferRequestedOutput("y", binary_data=False)]
        client.infer("half", [tensor(x, "FP16")], outputs=asked, headers=own.headers)


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_without_elements_go_both_ways(
    own: Service, client: triton.InferenceServerClient, binary: bool
) -> None:
    x = np.zeros((2, 0), np.float32)
    asked = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer("free", [tensor(x, "FP32", binary=binary)], outputs=asked, headers=own.headers)
    assert result.get_output("y")["shape"] == [2, 0]


async def test_tritons_asynchronous_client(own: Service) -> None:
    async with triton_aio.InferenceServerClient(own.url.removeprefix("http://")) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_config("linear", headers=own.headers))["name"] == "linear"
        x = np.ones((2, 4), np.float32)
        result = await client.infer("linear", [tensor(x, "FP32")], headers=own.headers)
        np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)
        with pytest.raises(InferenceServerException, match="Request for unknown model"):
            await client.infer("nobody", [tensor(x, "FP32")], headers=own.headers)
        stats = await client.get_inference_statistics("linear", headers=own.headers)
        assert stats["model_stats"][0]["inference_stats"]["success"]["count"] > 0


def test_kserves_client(own: Service) -> None:
    script = Path(__file__).with_name("kserve_session.py")
    done = subprocess.run(
        [sys.executable, str(script), own.url, own.key], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert [seen[name] for name in ("live", "ready", "model ready", "nobody ready")] == [True, True, True, False]
    assert seen["json"] == seen["binary"] == ["r-1", [[2.0, 4.0, 6.0, 8.0]]]
    assert seen["half"] == [[1.0, 2.0, 3.0, 4.0]]
    assert "Request for unknown model: 'nobody' is not found" in seen["error"]


def test_what_is_not_offered_says_so(own: Service, client: triton.InferenceServerClient) -> None:
    assert client.get_system_shared_memory_status(headers=own.headers) == []
    assert client.get_cuda_shared_memory_status(headers=own.headers) == []
    client.unregister_system_shared_memory(headers=own.headers)
    client.unregister_cuda_shared_memory("r", headers=own.headers)
    with pytest.raises(InferenceServerException, match="Unable to find system shared memory region: 'r'"):
        client.get_system_shared_memory_status("r", headers=own.headers)
    with pytest.raises(InferenceServerException, match="tenants share this machine"):
        client.register_system_shared_memory("r", "/r", 64, headers=own.headers)
    with pytest.raises(InferenceServerException, match="trace settings are not offered"):
        client.get_trace_settings(headers=own.headers)
    with pytest.raises(InferenceServerException, match="log settings are the operator's"):
        client.update_log_settings({"log_info": True}, headers=own.headers)


def test_a_tensor_model_answers_generate_by_the_names_of_its_inputs(own: Service) -> None:
    def generate(model: str, document: Any, route: str = "generate") -> Any:
        return send(own, f"/v2/models/{model}/{route}", json.dumps(document).encode(), headers=own.headers)

    answer = generate("text", {"id": "i", "text_input": "hello"})
    assert json.loads(answer.body) == {"id": "i", "model_name": "text", "model_version": "1", "y": "hello"}
    assert "server-timing" in answer.headers
    assert json.loads(generate("linear", {"x": [1, 2, 3, 4]}).body)["y"] == [[2.0, 4.0, 6.0, 8.0]]
    event = generate("text", {"x": "hello"}, "generate_stream")
    assert event.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert event.body.startswith(b"data: {")
    assert event.body.endswith(b"}\n\n")
    for document, words in (
        ({"text_input": "a", "z": 1}, "unexpected inference input 'z'"),
        ({}, "missing required input(s) ['x']"),
        ({"x": 1}, "'data' of input 'x' does not fit BYTES"),
        ([], "JSON object"),
        ({"id": 7}, "'id' is a text"),
    ):
        refused = generate("text", document)
        assert refused.status == 400
        assert words in refused.error


def test_no_call_is_lost_while_a_model_is_loaded_again(own: Service) -> None:
    stop = threading.Event()
    answered: list[int] = []

    def call() -> None:
        while not stop.is_set():
            answered.append(infer(own).status)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            assert send(own, "/v2/repository/models/linear/load", b"", headers=operator(own)).status == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answered) == {200}


def generated(service: Service, route: str, document: dict[str, Any]) -> Any:
    return send(service, f"/v2/models/gemma/{route}", json.dumps(document).encode(), headers=service.headers)


@pytest.mark.models
def test_a_language_model_generates_whole_or_as_events(large_service: Service) -> None:
    document = {"id": "i", "text_input": "The capital of France is", "parameters": {"temperature": 0, "max_tokens": 8}}
    whole = json.loads(generated(large_service, "generate", document).body)
    assert whole["id"] == "i"
    assert whole["model_name"] == "gemma"
    assert whole["text_output"].strip()
    document["parameters"]["details"] = True
    stream = generated(large_service, "generate_stream", document)
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(event.removeprefix("data: ")) for event in stream.body.decode().split("\n\n") if event]
    assert len(events) > 2
    assert "".join(event["text_output"] for event in events) == whole["text_output"]
    assert events[-1]["details"] == {"finish_reason": "length"}


@pytest.mark.models
def test_a_generation_that_is_refused_has_a_status_and_no_events(large_service: Service) -> None:
    for route in ("generate", "generate_stream"):
        refused = generated(large_service, route, {"text_input": "a", "warmth": 2})
        assert refused.status == 400
        assert "warmth" in refused.error
    assert send(large_service, "/v2/models/gemma/infer", b'{"inputs": []}', headers=large_service.headers).status == 501
    config = json.loads(send(large_service, "/v2/models/gemma/config", headers=large_service.headers).body)
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["instance_group"][0]["count"] >= 1


@pytest.mark.models
def test_a_language_model_is_unloaded_and_loaded(large_service: Service) -> None:
    headers = operator(large_service)
    client = triton.InferenceServerClient(large_service.url.removeprefix("http://"))
    client.unload_model("gemma", headers=headers)
    try:
        refused = generated(large_service, "generate", {"text_input": "a"})
        assert refused.status == 503
    finally:
        client.load_model("gemma", headers=headers)
        client.close()
    assert generated(large_service, "generate", {"text_input": "a", "max_tokens": 1}).status == 200
