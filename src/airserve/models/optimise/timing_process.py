"""The process that times one variant, alone and fresh: `python -m airserve.models.optimise.timing_process PARENT`.

The job comes on standard input and the `Round` goes to standard output, both as MessagePack.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper

from airserve.codecs.frame import decode
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError
from airserve.engines import Model, Source, load_model
from airserve.engines.cascade import CascadeModel
from airserve.engines.process_guard import end_with
from airserve.engines.session import Session
from airserve.models.manifest import Cascade, Manifest
from airserve.models.optimise.energy import EnergyMeter
from airserve.models.optimise.family import Round

BATCHES = (2, 4, 8, 16, 32)
_LEAST_RUNS, _LEAST_BATCHES, _MOST_RUNS = 10, 2, 2000
_WORSE = 0.8


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Time the weights in `file`, or the `cascade` whose small variant they are, `full` being the other's file.

    `calls` are of one row each, every tensor as a frame of `codecs/frame.py`. About `seconds` for single rows, and for
    batches together.
    """

    folder: str
    manifest: Manifest
    file: str
    full: str | None = None
    cascade: Cascade | None = None
    calls: list[dict[str, bytes]]
    threads: int
    seconds: float


class Failed(msgspec.Struct, frozen=True):
    """Why there is no round."""

    message: str


def main(job: Job) -> Round:
    """Load, run, time."""
    calls = [{name: decode(frame, max_bytes=1 << 31) for name, frame in call.items()} for call in job.calls]
    _wake_runtime(job.threads)
    before = _resident()
    with closing(_load(job, job.file)) as first:
        model: Model = first
        if job.cascade is not None and job.full is not None:
            model = _cascade(job, first, _load(job, job.full))
        for call in calls[:_LEAST_BATCHES]:
            model.run(call)
        memory = max(_resident() - before, 0)
        meter = EnergyMeter()
        latencies = _repeat(model.run, itertools.cycle(calls).__next__, job.seconds, _LEAST_RUNS)
        used = meter.millijoules()
        return Round(
            threads=job.threads,
            latencies_ms=[1000 * each for each in latencies],
            rows_per_s=_rates(model, job, calls, statistics.median(latencies)),
            memory_bytes=memory,
            energy_mj=None if used is None else used / len(latencies),
        )


def _rates(model: Model, job: Job, calls: Sequence[Tensors], alone_s: float) -> dict[int, float]:
    """Rows per second by the size of a batch; larger ones only while they do not cost clearly more."""
    rates = {1: 1 / alone_s}
    for size in BATCHES:
        if size > job.manifest.max_batch or rates[max(rates)] < _WORSE * max(rates.values()):
            break
        rows = list(itertools.islice(itertools.cycle(calls), size))
        try:
            batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        except ValueError:
            # Rows of different shapes share no batch.
            break
        taken = _repeat(model.run, lambda given=batch: given, job.seconds / len(BATCHES), _LEAST_BATCHES)  # type: ignore[misc]
        rates[size] = size / statistics.median(taken)
    return rates


def _repeat(run: Callable[[Tensors], Tensors], given: Callable[[], Tensors], seconds: float, least: int) -> list[float]:
    """How long each run took, in seconds."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < least or (time.perf_counter() < end and len(taken) < _MOST_RUNS):
        inputs = given()
        start = time.perf_counter()
        run(inputs)
        taken.append(time.perf_counter() - start)
    return taken


def _load(job: Job, file: str) -> Model:
    manifest = job.manifest
    source = Source(
        folder=Path(job.folder),
        file=file,
        signature=manifest.signature,
        labels=manifest.labels,
        vision=manifest.vision,
        text=manifest.text,
    )
    return load_model(manifest.engine, source, threads=job.threads)


def _cascade(job: Job, small: Model, full: Model) -> CascadeModel:
    assert job.cascade is not None, "asked for where there is one"  # noqa: S101
    return CascadeModel(
        small,
        full,
        threshold=job.cascade.threshold,
        temperature=job.cascade.temperature,
        classes=len(job.manifest.labels),
        vision=job.manifest.vision is not None,
    )


def _wake_runtime(threads: int) -> None:
    """What ONNX Runtime takes for itself, once a process, is no variant's."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "nothing", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with closing(Session(model.SerializeToString(), threads=threads)) as session:
        session.run({"x": np.ones(1, np.float32)}, ["y"])


def _resident() -> int:
    """Bytes of this process in memory, without what it freed and the allocator keeps (glibc)."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    answer: Round | Failed
    try:
        answer = main(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job))
    except AirserveError as error:
        answer = Failed(error.message)
    except MemoryError:
        answer = Failed("there is not enough memory to time it")
    os.write(1, msgspec.msgpack.encode({"failed" if isinstance(answer, Failed) else "round": answer}))
    os._exit(0)
