"""The closed-loop load of `load.py` with Airserve's own client, for HTTP/1.1, HTTP/2 and HTTP/3 over TLS."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import numpy as np
import uvloop

from airserve.client import AsyncClient
from benchmarks.calls import TIMEOUT_MS
from benchmarks.load import WARM_UP_SECONDS, Measurement, Recorder
from benchmarks.service import Service

Http = Literal["1.1", "2", "3"]
Array = np.ndarray[Any, Any]


def measure(
    service: Service,
    url: str,
    http: Http,
    model: str,
    rows: Array,
    expected: Array,
    *,
    connections: int,
    seconds: float,
) -> Measurement:
    """`connections` tasks call `model` at `url` for `seconds`, each again when its answer has come and is right."""
    return uvloop.run(_measure(service, url, http, model, rows, expected, connections, seconds))


async def _measure(
    service: Service,
    url: str,
    http: Http,
    model: str,
    rows: Array,
    expected: Array,
    connections: int,
    seconds: float,
) -> Measurement:
    recorder = Recorder(service.pid)
    async with AsyncClient(url, service.key, ca=service.ca, http=http) as client:

        async def call_and_call_again() -> None:
            while True:
                sent_at = time.perf_counter()
                outputs = await client.infer(model, {"x": rows}, timeout_ms=TIMEOUT_MS)
                recorder.add(time.perf_counter() - sent_at)
                if not np.allclose(outputs["y"], expected, rtol=1e-3, atol=1e-4):
                    raise RuntimeError("the server's answer differs from ONNX Runtime's in this process")

        tasks = [asyncio.create_task(call_and_call_again()) for _ in range(connections)]
        try:
            for wait, then in ((WARM_UP_SECONDS, recorder.begin), (seconds, recorder.end)):
                done, _ = await asyncio.wait(tasks, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                then()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return recorder.measurement(connections)
