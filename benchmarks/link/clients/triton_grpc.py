"""Triton's own client for Python over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tritonclient.grpc as triton

from airserve.core.call import Tensors
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S
from benchmarks.link.clients.plain import Ask, run, triton_inputs
from benchmarks.link.workloads import Workload


@contextmanager
def connect(workload: Workload) -> Iterator[Ask]:
    client = triton.InferenceServerClient(service.ADDRESS, ssl=True, root_certificates=service.CA)

    def ask(inputs: Tensors) -> dict[str, Any]:
        given = triton_inputs(triton.InferInput, inputs)
        result = client.infer(workload.tensor_model, given, headers=service.HEADERS, client_timeout=TIMEOUT_S)
        return {each.name: result.as_numpy(each.name) for each in result.get_response().outputs}

    try:
        yield ask
    finally:
        client.close()


if __name__ == "__main__":
    run(connect, "triton-grpc")
