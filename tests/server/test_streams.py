"""Frames that are differences to former frames of their stream, over the wire."""

from __future__ import annotations

import json
import time

import grpc
import httpx
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from airserve.codecs.frame import Reference, encode_frame
from airserve.core.call import Array
from tests.conftest import Service

CODEC = "fp32+zstd"
FIRST = np.arange(4, dtype=np.float32).reshape(1, 4)


def post(service: Service, frame: bytes, stream: str, key: str | None = None) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4],
              "parameters": {"binary_data_size": len(frame), "codec": CODEC}}  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {
        "authorization": f"Bearer {key or service.key}",
        "inference-header-content-length": str(len(head)),
        "airserve-stream": stream,
    }
    return httpx.post(f"{service.url}/v2/models/linear/infer", content=head + frame, headers=headers, timeout=30)


def over_grpc(service: Service, frame: bytes, stream: str) -> list[float]:
    message = service_pb2.ModelInferRequest(model_name="linear", raw_input_contents=[frame])
    given = message.inputs.add(name="x", datatype="FP32", shape=(1, 4))
    given.parameters["codec"].string_param = CODEC
    with grpc.insecure_channel(service.url.removeprefix("http://")) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {service.key}"), ("airserve-stream", stream))
        answer = call(message, metadata=metadata, timeout=20)
    return [float(each) for each in np.frombuffer(answer.raw_output_contents[0], np.float32)]


def framed(array: Array, key: int, reference: Reference | None = None) -> tuple[bytes, Reference]:
    coded = encode_frame(array, CODEC, key=key, reference=reference)
    assert coded.reference is not None
    return coded.frame, coded.reference


def test_a_difference_is_taken_in_its_stream_over_every_protocol(service: Service) -> None:
    whole, reference = framed(FIRST, 1)
    assert post(service, whole, "protocols").json()["outputs"][0]["data"] == [0, 2, 4, 6]
    difference, _ = framed(FIRST + 1, 2, reference)
    assert post(service, difference, "protocols").json()["outputs"][0]["data"] == [2, 4, 6, 8]
    assert over_grpc(service, difference, "protocols") == [2, 4, 6, 8]


def test_a_difference_is_nothing_in_another_stream_or_of_another_tenant(service: Service) -> None:
    whole, reference = framed(FIRST, 1)
    assert post(service, whole, "mine").status_code == 200
    difference, _ = framed(FIRST + 1, 2, reference)
    service.run("tenants", "create", "streamer")
    key = service.run("keys", "create", "streamer")["key"]
    ends_at = time.monotonic() + 20
    while (answer := post(service, difference, "mine", key)).status_code == 401 and time.monotonic() < ends_at:
        time.sleep(0.05)
    for refused in (answer, post(service, difference, "yours")):
        assert (refused.status_code, refused.json()["code"]) == (409, "missing_reference")
    with pytest.raises(grpc.RpcError) as failure:
        over_grpc(service, difference, "yours")
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert post(service, difference, "mine").status_code == 200


@pytest.mark.parametrize("stream", ["", "a b", "x" * 65])
def test_a_stream_has_a_short_name(service: Service, stream: str) -> None:
    frame, _ = framed(FIRST, 1)
    answer = post(service, frame, stream)
    assert answer.status_code == 400
    assert "Airserve-Stream" in answer.json()["error"]
