"""The same call in the two bodies of the Open Inference Protocol v2, checked once before it is repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.load import Measurement, http1_request, measure_http1, one_answer
from benchmarks.service import Service

Array = np.ndarray[Any, Any]

TIMEOUT_MS = 20_000
"""More than any queue of these benchmarks needs: what is measured is throughput, not refusals."""


@dataclass(frozen=True, slots=True)
class RestCall:
    """A request ready to send; `answer_length` in bytes where every answer has the same, else None."""

    service: Service
    request: bytes
    answer_length: int | None

    def measure(self, *, connections: int, seconds: float) -> Measurement:
        """Repeat the call over HTTP/1.1 in plaintext."""
        return measure_http1(
            self.service.http_url,
            self.request,
            connections=connections,
            seconds=seconds,
            server_pid=self.service.pid,
            answer_length=self.answer_length,
        )


def json_call(service: Service, model: str, rows: Array, expected: Array) -> RestCall:
    """`rows` and the answer as JSON numbers."""
    url = f"{service.http_url}/v2/models/{model}/infer"
    tensor = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    request = http1_request(url, _headers(service), json.dumps({"inputs": [tensor]}).encode())
    answer = json.loads(one_answer(url, request))
    _check(np.array(answer["outputs"][0]["data"], np.float32), expected)
    # The last digits of an answer, and so its length, depend on the batch that the call ran in.
    return RestCall(service, request, None)


def binary_call(service: Service, model: str, rows: Array, expected: Array) -> RestCall:
    """`rows` and the answer as raw bytes behind a JSON header (the binary tensor data extension)."""
    url = f"{service.http_url}/v2/models/{model}/infer"
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": list(rows.shape),
        "parameters": {"binary_data_size": rows.nbytes},
    }
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(document, separators=(",", ":")).encode()
    headers = _headers(service) | {"inference-header-content-length": str(len(header))}
    request = http1_request(url, headers, header + rows.tobytes())
    answer = one_answer(url, request)
    _check(np.frombuffer(answer[-expected.nbytes :], "<f4"), expected)
    return RestCall(service, request, len(answer))


def peer_json_call(peer: Service, rows: Array, expected: Array) -> RestCall:
    """The JSON call to the hand-written FastAPI application."""
    url = f"{peer.http_url}/json"
    tensor = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    headers = {"content-type": "application/json"}
    request = http1_request(url, headers, json.dumps({"inputs": [tensor]}).encode())
    _check(np.array(json.loads(one_answer(url, request))["outputs"][0]["data"], np.float32), expected)
    return RestCall(peer, request, None)


def peer_binary_call(peer: Service, rows: Array, expected: Array) -> RestCall:
    """The binary call to the hand-written FastAPI application: bare rows in, bare rows out."""
    url = f"{peer.http_url}/binary"
    request = http1_request(url, {"content-type": "application/octet-stream"}, rows.tobytes())
    _check(np.frombuffer(one_answer(url, request), "<f4"), expected)
    return RestCall(peer, request, expected.nbytes)


def _headers(service: Service) -> dict[str, str]:
    return {"authorization": f"Bearer {service.key}", "airserve-timeout-ms": str(TIMEOUT_MS)}


def _check(got: Array, expected: Array) -> None:
    if not np.allclose(got, expected.ravel(), rtol=1e-3, atol=1e-4):
        raise RuntimeError("the server's answer differs from ONNX Runtime's in this process")
