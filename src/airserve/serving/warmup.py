"""Load a model, run it until it is warm, and find out how this machine serves it best.

Two ways to use the cores: one batch at a time on all of them, or one single-threaded batch a core. The first
suits a model that gains from batching, since calls gather while it computes; the second one that does not.
The model's own curve decides.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from airserve.core.call import Tensors
from airserve.core.errors import AirserveError
from airserve.core.tensor import Signature
from airserve.engines import Model, load_model
from airserve.engines.options import Python
from airserve.models.catalog import DeploymentSpec
from airserve.serving.curve import ServiceCurve

_SIZES = (1, 2, 4, 8, 16, 32)
_BUDGET_S = 1.0
_REPEATS = 5
_LONG_BATCH_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Warm:
    """A model that is ready: how many batches it runs at once, its measured curve, the most rows of a batch."""

    model: Model
    curve: ServiceCurve
    workers: int
    threads: int
    max_rows: int


def load_warm(spec: DeploymentSpec, *, cores: int | None = None) -> Warm:
    """Load the weights of `spec`, measure, and choose workers and threads.

    A model that fails on made-up input is served all the same, one call at a time, and learns its curve from
    real calls.
    """
    cores = cores or available_cores()
    manifest = spec.manifest
    signature = manifest.signature
    max_rows = signature.max_batch if batches(signature) else 1
    # A sealed model is one process, whose only way to use all cores is one batch at a time on all of them.
    threads = 1 if manifest.sealed is None else cores
    model = load_model(manifest.engine, spec.source, threads=threads)
    try:
        curve = measure(model, max_rows)
    except AirserveError:
        return Warm(model, ServiceCurve(), workers=1, threads=1, max_rows=1)
    if manifest.engine == "python":
        # As many at once as it has processes, which choose their threads themselves.
        return Warm(model, curve, (manifest.python or Python()).workers, threads=1, max_rows=max_rows)
    if manifest.sealed is not None:
        return Warm(model, curve, workers=1, threads=threads, max_rows=max_rows)
    best = curve.best_batch(max_rows)
    if best == 1:
        return Warm(model, curve, workers=cores, threads=1, max_rows=max_rows)
    if cores > 1 and curve.predict(best) > _LONG_BATCH_NS:
        model.close()
        model = load_model(manifest.engine, spec.source, threads=cores)
        return Warm(model, measure(model, max_rows), workers=1, threads=cores, max_rows=max_rows)
    return Warm(model, curve, workers=1, threads=1, max_rows=max_rows)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def batches(signature: Signature) -> bool:
    """Whether rows of different calls can share a run: every tensor has a free first axis."""
    tensors = (*signature.inputs, *signature.outputs)
    return signature.max_batch > 1 and all(spec.shape and spec.shape[0] == -1 for spec in tensors)


def measure(model: Model, max_rows: int) -> ServiceCurve:
    """The curve of `model` from real runs, within about a second."""
    curve = ServiceCurve()
    end = time.monotonic() + _BUDGET_S
    for rows in _SIZES:
        if rows > max_rows or (rows > 1 and time.monotonic() > end):
            break
        inputs = model.example(rows)
        model.run(inputs)
        best_ns = min(_time_once(model, inputs) for _ in range(_REPEATS))
        curve.observe(rows, best_ns)
    return curve


def _time_once(model: Model, inputs: Tensors) -> int:
    start = time.perf_counter_ns()
    model.run(inputs)
    return max(1, time.perf_counter_ns() - start)
