"""Triton's own client for Python over HTTP/1.1, tensors in binary."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tritonclient.http as triton

from airserve.core.call import Tensors
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S
from benchmarks.link.clients.plain import Ask, run, triton_inputs
from benchmarks.link.workloads import Workload


@contextmanager
def connect(workload: Workload) -> Iterator[Ask]:
    """Each thread has a client of its own: Triton's over HTTP must not be shared."""
    local = threading.local()

    def client() -> triton.InferenceServerClient:
        if not hasattr(local, "client"):
            trust = {"ca_certs": service.CA}
            local.client = triton.InferenceServerClient(
                service.ADDRESS, ssl=True, ssl_options=trust, network_timeout=TIMEOUT_S
            )
        return local.client

    def ask(inputs: Tensors) -> dict[str, Any]:
        given = triton_inputs(triton.InferInput, inputs)
        result = client().infer(workload.tensor_model, given, headers=service.HEADERS)
        return {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}

    yield ask


if __name__ == "__main__":
    run(connect, "triton-http")
