"""ONNX Runtime called directly in this process: what a model costs before anybody serves it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

_WARM_UP_CALLS = 5


@dataclass(frozen=True, slots=True)
class InProcess:
    """`calls_per_s` on one thread with its median in milliseconds, and on two threads."""

    calls_per_s: float
    p50_ms: float
    two_threads_per_s: float


def measure(model: Path, row: np.ndarray[Any, Any], *, seconds: float = 2.0) -> InProcess:
    """Call the model with one row for `seconds`, on one thread and on two.

    Two threads may be two callers, or two threads inside one call; the faster of both counts.
    """
    one = _session(model, threads=1)
    latencies = _latencies(one, row, seconds)
    inside = _latencies(_session(model, threads=2), row, seconds)
    return InProcess(
        calls_per_s=len(latencies) / seconds,
        p50_ms=float(np.median(latencies)) * 1e3,
        two_threads_per_s=max(_two_callers(one, row, seconds), len(inside) / seconds),
    )


def answer(model: Path, row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The model's first output for these rows, to compare a server's with."""
    return np.asarray(_session(model, threads=1).run(None, {"x": row})[0])


def _session(model: Path, *, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _latencies(session: ort.InferenceSession, row: np.ndarray[Any, Any], seconds: float) -> list[float]:
    inputs = {"x": row}
    for _ in range(_WARM_UP_CALLS):
        session.run(None, inputs)
    latencies = []
    before = time.perf_counter()
    end = before + seconds
    while before < end:
        session.run(None, inputs)
        after = time.perf_counter()
        latencies.append(after - before)
        before = after
    return latencies


def _two_callers(session: ort.InferenceSession, row: np.ndarray[Any, Any], seconds: float) -> float:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(_latencies(session, row, seconds)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds
