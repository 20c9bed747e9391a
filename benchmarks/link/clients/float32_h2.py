"""float32 as it is in binary, over one warm connection of HTTP/2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airserve.client import Client
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S
from benchmarks.link.clients.plain import Ask, run
from benchmarks.link.workloads import Workload


@contextmanager
def connect(workload: Workload) -> Iterator[Ask]:
    with Client(service.URL, service.KEY, ca=service.CA, http="2", timeout_ms=TIMEOUT_S * 1e3) as client:
        yield lambda inputs: client.infer(workload.tensor_model, inputs)


if __name__ == "__main__":
    run(connect, "float32")
