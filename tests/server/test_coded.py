"""Coded inputs and outputs over REST and gRPC: what comes back, what is refused, and what a client may ask before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.grpc import service_pb2

from airserve.codecs.frame import decode, encode, encode_frame
from airserve.core.call import Array
from airserve.protocols.protos.open_inference_pb import ModelMetadataResponse
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_echo, save_linear, save_wide

LIMIT = 4_000_000


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of `linear` (y = 2x), measured with three codecs, and of a wide model whose shape is free."""
    folder = tmp_path_factory.mktemp("coded")
    state = ("--state-dir", str(folder / "state"))
    np.save(folder / "sample.npy", np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32))
    options = ("--codecs", "int8c+zstd,fp16,topk:0.5", "--min-accuracy", "0.95")
    airserve(
        "publish", str(save_linear(folder / "linear.onnx")), *state, *options, "--data", str(folder / "sample.npy"),
        "--json",
    )  # fmt: skip
    airserve("publish", str(save_echo(folder / "free.onnx", TensorProto.FLOAT, "batch", "free")), *state, "--json")
    airserve("publish", str(save_echo(folder / "text.onnx", TensorProto.STRING, "batch")), *state, "--json")
    airserve("publish", str(save_wide(folder / "wide.onnx", 400)), *state, "--json")
    (folder / "state" / "settings.toml").write_text(f"max_body_bytes = {LIMIT}\n")
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def post(
    service: Service,
    frame: bytes,
    codec: object,
    *,
    model: str = "linear",
    shape: tuple[int, ...] = (2, 4),
    outputs: Any = (),
    **fields: Any,
) -> httpx.Response:
    tensor = {
        "name": "x", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": len(frame), "codec": codec}
    } | fields  # fmt: skip
    document: dict[str, Any] = {"inputs": [tensor]} | ({"outputs": outputs} if outputs else {})
    head = json.dumps(document).encode()
    headers = {**service.headers, "inference-header-content-length": str(len(head))}
    return httpx.post(f"{service.url}/v2/models/{model}/infer", content=head + frame, headers=headers, timeout=30)


def floats(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["outputs"][0]["data"])


def x() -> Array:
    return np.arange(8, dtype=np.float32).reshape(2, 4) - 3


def test_lossless_frames_are_taken_by_every_model_and_give_the_same_answer(coded: Service) -> None:
    for codec in ("fp32", "fp32+zstd", "fp32+shuffle"):
        assert floats(post(coded, encode(x(), codec), codec)) == (2 * x()).ravel().tolist(), codec


def test_a_lossy_frame_is_taken_where_its_lossy_stage_is_listed_whatever_packs_it(coded: Service) -> None:
    for codec in ("int8c+zstd", "int8c", "int8c+ans"):
        sent = encode(x(), codec)
        wanted = 2 * decode(sent, max_bytes=1000)
        assert floats(post(coded, sent, codec)) == pytest.approx(wanted.ravel().tolist()), codec
    assert not np.array_equal(decode(encode(x() / 3, "int8c"), max_bytes=1000), x() / 3)


def test_a_lossy_codec_that_was_not_measured_is_refused_by_name(coded: Service) -> None:
    for codec, model in (("int4c+zstd", "linear"), ("topk:0.25", "linear"), ("topk:0.5", "linear"), ("fp16", "free")):
        answer = post(coded, encode(x(), codec), codec, model=model)
        assert (answer.status_code, answer.json()["code"]) == (400, "codec_not_accepted"), (codec, answer.text)
    assert "fp32+zstd, which lose nothing, int8c+zstd, fp16" in post(coded, encode(x(), "int4"), "int4").json()["error"]


def test_an_output_comes_back_as_the_frame_that_was_asked_for(coded: Service) -> None:
    asked = [{"name": "y", "parameters": {"binary_data": True, "codec": "fp16+zstd"}}]
    answer = post(coded, encode(x(), "fp32"), "fp32", outputs=asked)
    head = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:head])["outputs"]
    frame = answer.content[head:]
    assert output["parameters"] == {"binary_data_size": len(frame), "codec": "fp16+zstd"}
    assert (output["datatype"], output["shape"]) == ("FP32", [2, 4])
    assert np.array_equal(decode(frame, max_bytes=1000), 2 * x())


def test_one_codec_for_all_outputs_of_a_request(coded: Service) -> None:
    document = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": x().ravel().tolist()}],
        "parameters": {"binary_data_output": True, "codec": "fp32+zstd"},
    }
    answer = httpx.post(f"{coded.url}/v2/models/linear/infer", json=document, headers=coded.headers)
    frame = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert np.array_equal(decode(frame, max_bytes=1000), 2 * x())


def test_a_large_tensor_goes_there_and_back_off_the_event_loop(coded: Service) -> None:
    array = np.random.default_rng(0).normal(size=(60, 5000)).astype(np.float32)
    asked = [{"name": "y", "parameters": {"binary_data": True, "codec": "fp32+shuffle"}}]
    frame = encode(array, "fp32+shuffle")
    answer = post(coded, frame, "fp32+shuffle", model="free", shape=array.shape, outputs=asked)
    assert answer.status_code == 200, answer.text
    back = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert np.array_equal(decode(back, max_bytes=LIMIT), array)


def test_texts_travel_in_frames_too(coded: Service) -> None:
    texts = np.array([b"pay the bill", b"", "ü".encode()], dtype=object)
    frame = encode(texts, "fp32+zstd")
    answer = post(coded, frame, "fp32+zstd", model="text", shape=(3,), datatype="BYTES")
    assert answer.json()["outputs"][0]["data"] == ["pay the bill", "", "ü"]


GOOD = encode(x(), "int8c+zstd")
BOMB = encode(np.zeros((64, 400_000), np.float32), "fp32+zstd")
"""A hundred megabytes of zeros, in a few kilobytes."""

BAD: dict[str, tuple[bytes, dict[str, Any], int, str]] = {
    "cut off": (GOOD[:-5], {}, 400, "bad_frame"),
    "a head alone": (GOOD[:9], {}, 400, "bad_frame"),
    "nothing": (b"", {}, 400, "bad_frame"),
    "followed by more": (GOOD + b"\0", {}, 400, "bad_frame"),
    "damaged": (GOOD[:-6] + bytes([GOOD[-6] ^ 1]) + GOOD[-5:], {}, 400, "bad_frame"),
    "raw numbers": (x().tobytes(), {}, 400, "bad_frame"),
    "of another shape": (encode(x().reshape(4, 2), "int8c+zstd"), {}, 400, "bad_frame"),
    "of another datatype": (encode(x().astype(np.float64), "int8c+zstd"), {}, 400, "bad_frame"),
    "in another codec": (encode(x(), "int4"), {}, 400, "bad_frame"),
    "of a shape that the model does not take": (GOOD, {"shape": (2, 5)}, 400, "invalid_input"),
    "a codec that is none": (GOOD, {"codec": "int9"}, 400, "invalid_input"),
    "a codec that is a number": (GOOD, {"codec": 8}, 400, "invalid_input"),
    "a codec of a kilobyte": (GOOD, {"codec": "z" * 1000}, 400, "invalid_input"),
    "a codec of pictures": (GOOD, {"codec": "webp:60"}, 400, "codec_not_accepted"),
    "a bomb": (BOMB, {"codec": "fp32+zstd", "model": "free", "shape": (64, 400_000)}, 413, "too_large"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_frames_are_refused_with_a_sentence_over_both_protocols(coded: Service, what: str) -> None:
    frame, changes, status, code = BAD[what]
    asked: dict[str, Any] = {"codec": "int8c+zstd", "shape": (2, 4), "model": "linear"} | changes
    answer = post(coded, frame, **asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert len(answer.json()["error"]) < 400
    if isinstance(asked["codec"], str):
        with pytest.raises(grpc.RpcError) as refusal:
            over_grpc(coded, frame, **asked)
        assert refusal.value.code().name == ("RESOURCE_EXHAUSTED" if status == 413 else "INVALID_ARGUMENT")


def test_a_frame_that_is_the_difference_to_another_is_refused_where_there_is_none(coded: Service) -> None:
    first = encode_frame(x(), "fp32+zstd", key=1)
    answer = post(coded, encode(x() + 1, "fp32+zstd", reference=first.reference), "fp32+zstd")
    assert (answer.status_code, answer.json()["code"]) == (409, "missing_reference")


def test_a_codec_beside_json_data_or_for_an_output_in_json_is_refused(coded: Service) -> None:
    changes: list[dict[str, Any]] = [
        {"inputs": [{"parameters": {"codec": "fp32"}}]},
        {"outputs": [{"name": "y", "parameters": {"codec": "fp32"}}]},
        {"outputs": [{"name": "y", "parameters": {"codec": "int4", "binary_data": True}}]},
        {"parameters": {"codec": "fp32"}},
    ]
    for change in changes:
        tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        document: dict[str, Any] = {**change, "inputs": [{**tensor, **change.get("inputs", [{}])[0]}]}
        answer = httpx.post(f"{coded.url}/v2/models/linear/infer", json=document, headers=coded.headers)
        assert answer.status_code == 400, (change, answer.text)
        assert "codec" in answer.json()["error"]


def over_grpc(
    service: Service, frame: bytes, codec: str, *, model: str = "linear", shape: tuple[int, ...] = (2, 4), out: str = ""
) -> service_pb2.ModelInferResponse:
    message = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[frame])
    given = message.inputs.add(name="x", datatype="FP32", shape=shape)
    given.parameters["codec"].string_param = codec
    if out:
        message.outputs.add(name="y").parameters["codec"].string_param = out
    with grpc.insecure_channel(service.url.removeprefix("http://")) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        return call(message, metadata=(("authorization", f"Bearer {service.key}"),), timeout=20)


def test_frames_go_there_and_back_over_grpc(coded: Service) -> None:
    answer = over_grpc(coded, GOOD, "int8c+zstd", out="fp16")
    assert answer.outputs[0].parameters["codec"].string_param == "fp16"
    assert np.allclose(decode(answer.raw_output_contents[0], max_bytes=1000), 2 * x(), atol=0.1)
    with pytest.raises(grpc.RpcError, match="is not accepted for 'y'"):
        over_grpc(coded, GOOD, "int8c+zstd", out="int2c")


def test_a_coded_call_is_metered_by_the_bytes_that_came(coded: Service) -> None:
    coded.run("tenants", "create", "coder")
    key = coded.run("keys", "create", "coder")["key"]
    frame = encode(np.zeros((1, 100_000), np.float32), "fp32+zstd")
    other = Service(coded.process, {**coded.ready, "key": key}, coded.state_dir)
    end = time.monotonic() + 10
    while (answer := post(other, frame, "fp32+zstd", model="free", shape=(1, 100_000))).status_code == 401:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    while not (rows := coded.run("usage", "--tenant", "coder")):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert 0 < sum(row["bytes_in"] for row in rows) < 5000


def test_metadata_list_the_lossy_codecs_and_triton_clients_read_them(coded: Service) -> None:
    address = coded.url.removeprefix("http://")
    rest = triton.InferenceServerClient(address)
    document = rest.get_model_metadata("linear", headers=coded.headers)
    assert [each["parameters"] for each in document["inputs"]] == [{"codecs": "int8c+zstd,fp16"}]
    assert "parameters" not in rest.get_model_metadata("free", headers=coded.headers)["inputs"][0]
    rest.close()
    client = triton_grpc.InferenceServerClient(address)
    message = client.get_model_metadata("linear", headers=coded.headers)
    client.close()
    # Triton's edition of the protocol has no properties; its clients keep what they do not know.
    known = ModelMetadataResponse.from_binary(message.SerializeToString())
    assert known.properties == {"codecs.x": "int8c+zstd,fp16", "codecs.y": "int8c+zstd,fp16"}


def test_what_was_measured_is_shown_by_name(coded: Service) -> None:
    (version,) = coded.run("models", "show", "linear")["versions"]
    listed = {(each["tensor"], each["codec"]): each for each in version["manifest"]["codecs"]}
    assert set(listed) == {("x", "int8c+zstd"), ("x", "fp16"), ("y", "int8c+zstd"), ("y", "fp16")}
    assert all(0.95 <= each["accuracy"] <= 1 and each["bytes"] < 60 for each in listed.values())
