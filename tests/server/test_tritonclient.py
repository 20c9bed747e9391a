"""A client that nobody here wrote: Triton's own, from PyPI."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from airserve.cli.first_start import EXAMPLE_EIGHT
from tests.conftest import Service


@pytest.fixture
def client(service: Service) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(service.url.removeprefix("http://"))
    yield client
    client.close()


def test_health_and_metadata(service: Service, client: triton.InferenceServerClient) -> None:
    headers = service.headers
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits", headers=headers)
    assert not client.is_model_ready("nobody", headers=headers)
    server = client.get_server_metadata(headers=headers)
    assert server["name"] == "airserve"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("digits", headers=headers)
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]
    assert model["platform"] == "onnxruntime_onnx"
    assert model["versions"] == ["1"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_inference_in_json_and_binary(
    service: Service, client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    x = np.array([EXAMPLE_EIGHT] * 3, np.float32)
    given = triton.InferInput("x", list(x.shape), "FP32")
    given.set_data_from_numpy(x, binary_data=binary_in)
    asked = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "probabilities")]
    result = client.infer("digits", [given], outputs=asked, headers=service.headers, request_id="r-1")
    labels = result.as_numpy("label")
    assert [label.decode() if isinstance(label, bytes) else label for label in labels] == ["8"] * 3
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [8] * 3
    assert result.get_response()["id"] == "r-1"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests(service: Service, client: triton.InferenceServerClient, coding: str) -> None:
    given = triton.InferInput("x", [1, 64], "FP32")
    given.set_data_from_numpy(np.array([EXAMPLE_EIGHT], np.float32))
    result = client.infer("digits", [given], headers=service.headers, request_compression_algorithm=coding)
    assert result.as_numpy("label").tolist() == [b"8"]


def test_its_errors_carry_our_sentences(service: Service, client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("x", [1, 64], "FP32")
    given.set_data_from_numpy(np.zeros((1, 64), np.float32))
    with pytest.raises(InferenceServerException, match="no API key"):
        client.infer("digits", [given])
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.infer("nobody", [given], headers=service.headers)
