"""gRPC on the one port, by clients that nobody here wrote: tritonclient, grpcio, its health checks, KServe's."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto
from protobuf import Oneof
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from airserve.cli.first_start import EXAMPLE_EIGHT
from airserve.protocols.protos.reflection_pb import ServerReflectionRequest, ServerReflectionResponse
from tests.conftest import Service, publish, start_service
from tests.models_for_tests import save_identity, save_linear, save_slow
from tests.server.wire import send

ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def address(service: Service) -> str:
    return service.url.removeprefix("http://")


def metadata(service: Service, **more: str) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", service.key), *((name.replace("_", "-"), value) for name, value in more.items()))


@pytest.fixture
def client(service: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address(service)) as client:
        yield client


@pytest.fixture
def stub(service: Service) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(address(service)) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a model that gives back what it gets, for each datatype, and one that is slow."""
    folder = tmp_path_factory.mktemp("grpc")
    same = {f"same_{datatype.lower()}": elements for datatype, elements in ELEMENTS.items()}
    models = {name: save_identity(folder / f"{name}.onnx", elements) for name, elements in same.items()}
    publish(folder / "state", {**models, "slow": save_slow(folder / "slow.onnx")})
    running = start_service(folder / "state", "--no-demo")
    yield running
    running.stop()


def given(x: np.ndarray[Any, Any] | None = None, name: str = "x") -> triton.InferInput:
    x = np.array([[1, 2, 3, 4]], np.float32) if x is None else x
    tensor = triton.InferInput(name, list(x.shape), triton._utils.np_to_triton_dtype(x.dtype))
    tensor.set_data_from_numpy(x)
    return tensor


def message(model: str = "linear", **fields: Any) -> service_pb2.ModelInferRequest:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1] if model == "slow" else [1, 4]}
    return service_pb2.ModelInferRequest(
        model_name=model,
        inputs=[tensor],
        raw_input_contents=[np.ones(tensor["shape"], np.float32).tobytes()],  # type: ignore[call-overload]
        **fields,
    )


def refused(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


def test_health_and_metadata(service: Service, client: triton.InferenceServerClient) -> None:
    headers = service.headers
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits", headers=headers)
    assert not client.is_model_ready("nobody", headers=headers)
    server = client.get_server_metadata(headers=headers)
    assert server.name == "airserve"
    assert "statistics" in server.extensions
    model = client.get_model_metadata("digits", headers=headers)
    assert (model.platform, list(model.versions)) == ("onnxruntime_onnx", ["1"])
    assert [(each.name, each.datatype, list(each.shape)) for each in model.inputs] == [("x", "FP32", [-1, 64])]


def test_configuration_and_statistics(service: Service, client: triton.InferenceServerClient) -> None:
    headers = service.headers
    config = client.get_model_config("digits", headers=headers).config
    assert (config.name, list(config.input[0].dims), config.max_batch_size > 0) == ("digits", [64], True)
    client.infer("linear", [given()], headers=headers)
    before = client.get_inference_statistics("linear", headers=headers).model_stats[0]
    client.infer("linear", [given(np.zeros((3, 4), np.float32))], headers=headers)
    after = client.get_inference_statistics("linear", headers=headers).model_stats[0]
    assert after.inference_count - before.inference_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.HasField("cache_miss")
    every = client.get_inference_statistics(headers=headers).model_stats
    assert {"digits", "linear", "slow", "failing"} <= {each.name for each in every}


def test_an_answer_and_what_it_says_of_itself(
    service: Service, client: triton.InferenceServerClient, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    outputs = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("probabilities", class_count=2)]
    x = given(np.array([EXAMPLE_EIGHT] * 3, np.float32))
    result = client.infer("digits", [x], outputs=outputs, headers=service.headers, request_id="r-1")
    assert result.as_numpy("label").tolist() == [b"8"] * 3
    assert result.as_numpy("probabilities").shape == (3, 2)
    assert b":8" in result.as_numpy("probabilities")[0, 0]
    assert result.get_response().id == "r-1"
    _, call = stub.ModelInfer.with_call(message(), metadata=metadata(service, x_request_id="mine"))
    told = {each.key: each.value for each in call.initial_metadata()}
    assert told["x-request-id"] == "mine"
    assert {"server-timing", "airserve-batch-rows"} <= told.keys()


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_tensors_of_every_datatype(of_its_own: Service, datatype: str) -> None:
    if datatype == "BYTES":
        array = np.array([["Grüße", "", "日本"]], dtype=object)
    else:
        array = np.array([[0, 1, 1]]).astype(triton._utils.triton_to_np_dtype(datatype))
    with triton.InferenceServerClient(address(of_its_own)) as client:
        result = client.infer(f"same_{datatype.lower()}", [given(array)], headers=of_its_own.headers).as_numpy("y")
        assert result.dtype == array.dtype
        expected = [[text.encode() for text in array[0]]] if datatype == "BYTES" else array.tolist()
        assert result.tolist() == expected
        empty = client.infer(f"same_{datatype.lower()}", [given(array[:, :0])], headers=of_its_own.headers)
        assert empty.as_numpy("y").shape == (1, 0)


def test_typed_contents_are_answered_raw_unless_asked_for(
    service: Service, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "contents": {"fp32_contents": [1, 2, 3, 4]}}
    typed = service_pb2.ModelInferRequest(model_name="linear", inputs=[tensor])
    reply = stub.ModelInfer(typed, metadata=metadata(service))
    assert np.frombuffer(reply.raw_output_contents[0], np.float32).tolist() == [2, 4, 6, 8]
    typed.parameters["binary_data_output"].bool_param = False
    reply = stub.ModelInfer(typed, metadata=metadata(service))
    assert list(reply.outputs[0].contents.fp32_contents) == [2, 4, 6, 8]
    assert not reply.raw_output_contents


async def test_the_asyncio_client_and_its_stream(service: Service) -> None:
    async def requests() -> Any:
        for number in range(3):
            yield {"model_name": "linear", "inputs": [given(np.full((1, 4), number, np.float32))]}

    async with triton_aio.InferenceServerClient(address(service)) as client:
        result = await client.infer("linear", [given()], headers=service.headers, client_timeout=30)
        assert result.as_numpy("y").tolist() == [[2, 4, 6, 8]]
        answers = client.stream_infer(requests(), headers=service.headers)
        got = [(answer.as_numpy("y")[0, 0], error) async for answer, error in answers]
        assert got == [(0, None), (2, None), (4, None)]


def test_over_tls(service: Service) -> None:
    ca = str(service.ready["ca"])
    with triton.InferenceServerClient(
        str(service.ready["url"]).removeprefix("https://"), ssl=True, root_certificates=ca
    ) as client:
        assert client.infer("linear", [given()], headers=service.headers).as_numpy("y").tolist() == [[2, 4, 6, 8]]


def test_compressed_messages(service: Service, client: triton.InferenceServerClient) -> None:
    result = client.infer("linear", [given()], headers=service.headers, compression_algorithm="gzip")
    assert result.as_numpy("y").tolist() == [[2, 4, 6, 8]]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_message_over_the_limit_is_refused_also_one_that_inflates(
    service: Service, client: triton.InferenceServerClient, compression: str | None
) -> None:
    large = given(np.zeros((100_000, 4), np.float32))
    with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.*larger than configured max 1000000"):
        client.infer("linear", [large], headers=service.headers, compression_algorithm=compression)


@pytest.mark.parametrize(
    ("call", "status", "text"),
    [
        (lambda c, h: c.infer("linear", [given()]), "UNAUTHENTICATED", "no API key"),
        (lambda c, h: c.infer("linear", [given()], headers={"x-api-key": "x"}), "UNAUTHENTICATED", "mistyped"),
        (lambda c, h: c.get_server_metadata(), "UNAUTHENTICATED", "no API key"),
        (lambda c, h: c.infer("nobody", [given()], headers=h), "NOT_FOUND", "Request for unknown model: 'nobody'"),
        (
            lambda c, h: c.infer("linear", [given()], model_version="9", headers=h),
            "NOT_FOUND",
            "'linear' version 9 is not found",
        ),
        (
            lambda c, h: c.infer("linear", [given(np.zeros((1, 5), np.float32))], headers=h),
            "INVALID_ARGUMENT",
            "unexpected shape for input 'x' for model 'linear'",
        ),
        (
            lambda c, h: c.infer("linear", [given(np.zeros((1, 4), np.int32))], headers=h),
            "INVALID_ARGUMENT",
            "data-type is 'INT32', but model 'linear' expects 'FP32'",
        ),
        (
            lambda c, h: c.infer("linear", [given(), given()], headers=h),
            "INVALID_ARGUMENT",
            "given twice",
        ),
        (
            lambda c, h: c.infer("linear", [given()], outputs=[triton.InferRequestedOutput("z")], headers=h),
            "INVALID_ARGUMENT",
            "unexpected inference output 'z'",
        ),
        (
            lambda c, h: c.infer("failing", [given(np.array([9], np.int64), "i")], headers=h),
            "INTERNAL",
            "the model failed",
        ),
        (
            lambda c, h: c.register_system_shared_memory("r", "/r", 8, headers=h),
            "UNIMPLEMENTED",
            "tenants share this machine",
        ),
        (lambda c, h: c.get_trace_settings(headers=h), "UNIMPLEMENTED", "not offered"),
        (lambda c, h: c.get_log_settings(headers=h), "UNIMPLEMENTED", "not offered"),
        (lambda c, h: c.get_model_repository_index(headers=h), "PERMISSION_DENIED", "operator's"),
    ],
)  # fmt: skip
def test_refusals(
    service: Service, client: triton.InferenceServerClient, call: Callable[..., Any], status: str, text: str
) -> None:
    with pytest.raises(InferenceServerException, match=status) as error:
        call(client, service.headers)
    assert text in str(error.value)


def test_the_status_of_shared_memory_is_an_empty_list(service: Service, client: triton.InferenceServerClient) -> None:
    assert not client.get_system_shared_memory_status(headers=service.headers).regions
    assert not client.get_cuda_shared_memory_status(headers=service.headers).regions


def test_a_refusal_carries_its_stable_code(service: Service, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    error = refused(lambda: stub.ModelInfer(message("nobody"), metadata=metadata(service)))
    assert ("airserve-code", "not_found") in [tuple(each) for each in error.trailing_metadata()]


def test_what_is_no_message_and_what_is_no_procedure(service: Service) -> None:
    with grpc.insecure_channel(address(service)) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert (
            refused(lambda: infer(b"\xff\xff", metadata=metadata(service))).code() is grpc.StatusCode.INVALID_ARGUMENT
        )
        for path in ("/inference.GRPCInferenceService/Nothing", "/nobody.Nothing/Nothing"):
            nothing = channel.unary_unary(path)
            assert refused(lambda: nothing(b"", metadata=metadata(service))).code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_that_cannot_be_in_time_says_so_at_once(
    of_its_own: Service,
) -> None:
    with triton.InferenceServerClient(address(of_its_own)) as client:
        slow = given(np.ones(1, np.float32))
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*give it more time"):
            client.infer("slow", [slow], headers=of_its_own.headers, timeout=30_000)


def test_a_deadline_that_has_passed_is_told_as_such(
    service: Service, client: triton.InferenceServerClient, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED.*the deadline had passed"):
        client.infer("linear", [given()], headers=service.headers, timeout=1)
    error = refused(lambda: stub.ModelInfer(message(), metadata=metadata(service, grpc_timeout="1n")))
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "Request timed out")


def test_calls_whose_clients_have_gone_leave_the_queue(of_its_own: Service) -> None:
    with grpc.insecure_channel(address(of_its_own)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        before = _count(of_its_own, "slow", "fail")
        calls = [stub.ModelInfer.future(message("slow"), metadata=metadata(of_its_own)) for _ in range(30)]
        time.sleep(0.3)
        for call in calls:
            call.cancel()
        for half_closed in (True, False):
            keeps_open = queue.Queue[None]()
            stream = stub.ModelStreamInfer(_many(20, half_closed, keeps_open), metadata=metadata(of_its_own))
            next(stream)
            stream.cancel()
            keeps_open.put(None)
        _eventually(lambda: _count(of_its_own, "slow", "fail") - before >= 45)
        assert stub.ModelInfer(message("slow"), metadata=metadata(of_its_own)).model_name == "slow"
    # Who leaves is no failure of ours.
    assert "Traceback" not in of_its_own.state_dir.with_suffix(".log").read_text()


def test_streams_that_are_left_while_answers_wait_for_room(of_its_own: Service) -> None:
    # The client reads one answer and lets the others fill every buffer on the way, so that the server is held in
    # sending one; then it goes. The front ends that sending and tells of the leaving at the same time, in any order.
    numbers = np.ones((1, 1 << 16), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": numbers.shape}
    request = service_pb2.ModelInferRequest(
        model_name="same_fp32", inputs=[tensor], raw_input_contents=[numbers.tobytes()]
    )
    options = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    for _ in range(40):
        least = _count(of_its_own, "same_fp32", "success") + 2
        with grpc.insecure_channel(address(of_its_own), options) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            keeps_open = queue.Queue[None]()
            stream = stub.ModelStreamInfer(_many(12, False, keeps_open, request), metadata=metadata(of_its_own))
            next(stream)
            _eventually(lambda least=least: _count(of_its_own, "same_fp32", "success") >= least)
            stream.cancel()
            keeps_open.put(None)
    with triton.InferenceServerClient(address(of_its_own)) as client:
        assert client.infer("same_fp32", [given()], headers=of_its_own.headers).as_numpy("y").shape == (1, 4)
    assert "Traceback" not in of_its_own.state_dir.with_suffix(".log").read_text()


def _many(
    count: int, half_closed: bool, keeps_open: queue.Queue[None], request: service_pb2.ModelInferRequest | None = None
) -> Iterator[service_pb2.ModelInferRequest]:
    for _ in range(count):
        yield request or message("slow")
    if not half_closed:
        keeps_open.get(timeout=60)


def _count(service: Service, model: str, what: str) -> int:
    with triton.InferenceServerClient(address(service)) as client:
        statistics = client.get_inference_statistics(model, headers=service.headers).model_stats[0]
        return int(getattr(statistics.inference_stats, what).count)


def _eventually(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_stream_keeps_the_order_and_outlives_its_errors(
    service: Service, client: triton.InferenceServerClient
) -> None:
    answers = queue.Queue[tuple[Any, Any]]()
    client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=service.headers)
    for number in range(10):
        x = given(np.full((1, 4), number, np.float32))
        client.async_stream_infer("linear", [x], request_id=str(number), enable_empty_final_response=True)
    client.async_stream_infer("nobody", [given()])
    client.async_stream_infer("linear", [given()], request_id="last")
    got = [answers.get(timeout=30) for _ in range(12)]
    client.stop_stream()
    assert [result.get_response().id for result, _ in got[:10]] == [str(number) for number in range(10)]
    assert [result.as_numpy("y")[0, 0] for result, _ in got[:10]] == [2 * number for number in range(10)]
    assert all(result.get_response().parameters["triton_final_response"].bool_param for result, _ in got[:10])
    assert "Request for unknown model" in str(got[10][1])
    assert got[11][0].get_response().id == "last"


def test_a_stream_ends_with_its_first_error_where_the_client_asks_for_that(
    service: Service, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    asked = (*metadata(service), ("triton_grpc_error", "true"))
    stream = stub.ModelStreamInfer(iter([message(), message("nobody"), message()]), metadata=asked)
    assert next(stream).infer_response.model_name == "linear"
    error = refused(lambda: next(stream))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_a_refused_call_on_a_stream_is_told_apart_by_its_id(
    service: Service, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    (answer,) = stub.ModelStreamInfer(iter([message("nobody", id="7")]), metadata=metadata(service))
    assert answer.infer_response.id == "7"
    assert answer.error_message.startswith("Request for unknown model")


def test_a_call_sent_again_under_its_id_is_charged_once(service: Service) -> None:
    with grpc.insecure_channel(address(service)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        before = _calls(service)
        for _ in range(3):
            stub.ModelInfer(message(), metadata=metadata(service, airserve_call_id="grpc-again"))
        _eventually(lambda: _calls(service) == before + 1)


def _calls(service: Service) -> int:
    return sum(row["ok"] for row in service.run("usage") if row["model"] == "linear")


def test_the_operator_sees_unloads_and_loads(tmp_path: Path) -> None:
    publish(tmp_path / "state", {"linear": save_linear(tmp_path / "linear.onnx")})
    running = start_service(tmp_path / "state", "--no-demo")
    operator = {"authorization": f"Bearer {running.ready['operator_key']}"}
    with triton.InferenceServerClient(address(running)) as client:
        (entry,) = client.get_model_repository_index(headers=operator).models
        assert (entry.name, entry.version, entry.state) == ("linear", "1", "READY")
        client.unload_model("linear", headers=operator)
        assert not client.is_model_ready("linear", headers=operator)
        (entry,) = client.get_model_repository_index(headers=operator).models
        assert (entry.state, entry.reason) == ("UNAVAILABLE", "unloaded")
        client.load_model("linear", headers=operator)
        assert client.is_model_ready("linear", headers=operator)
        with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*a published version never changes"):
            client.load_model("linear", config="{}", headers=operator)
    assert running.stop() == 0


def test_the_health_service_of_grpc(service: Service) -> None:
    with grpc.insecure_channel(address(service)) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def check(name: str) -> int:
            request = health_pb2.HealthCheckRequest(service=name)
            return int(health.Check(request, metadata=metadata(service)).status)

        serving = health_pb2.HealthCheckResponse.SERVING
        assert health.Check(health_pb2.HealthCheckRequest()).status == serving
        assert check("inference.GRPCInferenceService") == check("digits") == serving
        assert refused(lambda: check("nobody")).code() is grpc.StatusCode.NOT_FOUND
        without_key = health_pb2.HealthCheckRequest(service="digits")
        assert refused(lambda: health.Check(without_key)).code() is grpc.StatusCode.UNAUTHENTICATED
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == serving
        watch.cancel()
        watch = health.Watch(health_pb2.HealthCheckRequest(service="nobody"), metadata=metadata(service))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


KSERVE = """
import asyncio, sys
from kserve import InferenceGRPCClient, InferInput, InferRequest
import numpy as np

async def main(address, key):
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    headers = (("x-api-key", key),)
    assert await client.is_model_ready("linear", headers=headers)
    for raw in (True, False):
        given = InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32), binary_data=raw)
        reply = await client.infer(InferRequest("linear", [given], request_id="k"), headers=headers)
        assert reply.outputs[0].as_numpy().tolist() == [[2, 4, 6, 8]], reply
    print("answered")

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_client_of_kserve(service: Service) -> None:
    # In a process of its own: it registers messages under the names that tritonclient has taken in this one.
    done = subprocess.run(
        [sys.executable, "-c", KSERVE, address(service), service.key],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip().endswith("answered"), done.stderr[-3000:]


def test_reflection_tells_tools_what_can_be_called(service: Service) -> None:
    asked = [
        ServerReflectionRequest(message_request=Oneof("list_services", "")),
        ServerReflectionRequest(message_request=Oneof("file_containing_symbol", "inference.ModelInferRequest")),
        ServerReflectionRequest(message_request=Oneof("file_by_filename", "nobody.proto")),
    ]
    for package in ("grpc.reflection.v1", "grpc.reflection.v1alpha"):
        with grpc.insecure_channel(address(service)) as channel:
            reflect = channel.stream_stream(
                f"/{package}.ServerReflection/ServerReflectionInfo",
                request_serializer=lambda request: request.to_binary(),
                response_deserializer=ServerReflectionResponse.from_binary,
            )
            services, file, unknown = (answer.message_response for answer in reflect(iter(asked)))
        assert "inference.GRPCInferenceService" in [each.name for each in services.value.service]
        described = descriptor_pb2.FileDescriptorProto.FromString(file.value.file_descriptor_proto[0])
        assert described.package == "inference"
        assert unknown.value.error_code == 5


def test_the_proto_files_are_there_for_everybody(service: Service) -> None:
    answer = send(service, "/protos/open_inference.proto", headers={})
    assert answer.status == 200
    assert b"service GRPCInferenceService" in answer.body
    missing = send(service, "/protos/nobody.proto", headers={})
    assert (missing.status, "/protos/health.proto" in missing.error) == (404, True)
    assert send(service, "/protos/health.proto", b"x", headers={}).status == 405


@pytest.mark.models
def test_a_text_model_streams_its_pieces(large_service: Service) -> None:
    asked = service_pb2.ModelInferRequest(model_name="gemma", id="t")
    asked.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    text = b"The capital of France is"
    asked.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    asked.parameters["max_tokens"].int64_param = 8
    asked.parameters["temperature"].double_param = 0.0
    asked.parameters["triton_enable_empty_final_response"].bool_param = True
    with grpc.insecure_channel(address(large_service)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = list(stub.ModelStreamInfer(iter([asked]), metadata=metadata(large_service)))
        assert not any(answer.error_message for answer in answers)
        pieces = [answer.infer_response for answer in answers]
        assert len(pieces) > 2
        written = b"".join(piece.raw_output_contents[0][4:] for piece in pieces if piece.outputs)
        completion = {"model": "gemma", "prompt": text.decode(), "max_tokens": 8, "temperature": 0}
        same = send(large_service, "/v1/completions", json.dumps(completion).encode())
        assert written.decode() == json.loads(same.body)["choices"][0]["text"]
        final = [piece.parameters["triton_final_response"].bool_param for piece in pieces]
        assert final == [False] * (len(pieces) - 1) + [True]
        error = refused(lambda: stub.ModelInfer(asked, metadata=metadata(large_service)))
        assert "decoupled transaction policy" in (error.details() or "")
