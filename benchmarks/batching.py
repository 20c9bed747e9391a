"""What batching by the measured service-time curve is worth, on a model that gains from it and on one that does not."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls, in_process, models, report, service
from benchmarks.load import Measurement, median

CONNECTIONS = 32
SECONDS = 2.5
ROUNDS = 3
_SHAPES = {"dense": models.DENSE_INPUT, "convolution": models.CONVOLUTION_INPUT}
_TITLES = {"dense": "two dense layers, 4,096 wide", "convolution": "small convolutional net"}


@dataclass(frozen=True, slots=True)
class Result:
    """One model: alone in this process, served one row at a time, and served in batches."""

    direct_per_s: float
    single: Measurement
    batched: Measurement


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        _publish({name: _measure(name, file) for name, file in models.build(Path(folder), *_SHAPES).items()})


def _measure(name: str, file: Path) -> Result:
    """The three ways take turns, so that a machine that slows down slows them alike; the median round counts."""
    row = models.rows(_SHAPES[name])
    expected = in_process.answer(file, row)
    direct: list[float] = []
    single: list[Measurement] = []
    batched: list[Measurement] = []
    with service.airserve([service.Publication("single", file, 1), service.Publication("batched", file)]) as ours:
        for _ in range(ROUNDS):
            direct.append(in_process.measure(file, row, seconds=1).two_threads_per_s)
            for model, cells in (("single", single), ("batched", batched)):
                call = calls.binary_call(ours, model, row, expected)
                cells.append(call.measure(connections=CONNECTIONS, seconds=SECONDS))
    return Result(statistics.median(direct), median(single), median(batched))


def _publish(results: dict[str, Result]) -> None:
    rows: list[tuple[str, ...]] = []
    for name, result in results.items():
        rows.append((_TITLES[name], "ONNX Runtime in this process", report.number(result.direct_per_s), "", "", "", ""))
        for how, cell in (("max-batch 1", result.single), ("dynamic batching", result.batched)):
            rows.append(_row(_TITLES[name], how, cell, result.direct_per_s))
    columns = ("model", "how", "rows/s", "p50 ms", "p99 ms", "server CPU µs", "of in-process")
    notes = (
        f"Binary calls of one row, {CONNECTIONS} connections, HTTP/1.1 in plaintext. In this process: one row a call, "
        f"two threads, whichever way of using them is faster. The median of {ROUNDS} rounds in turn.",
    )
    dense, convolution = results["dense"], results["convolution"]
    goals = [
        report.Goal("dense layers: dynamic batching against max-batch 1", _gain(dense), 3),
        report.Goal("convolutional net: dynamic batching against max-batch 1", _gain(convolution), 0.95),
        report.Goal(
            "convolutional net: rows/s against ONNX Runtime in this process",
            convolution.batched.calls_per_s / convolution.direct_per_s,
            0.85,
        ),
    ]
    table = report.Table("Batching", columns, rows, notes)
    panels = [report.Bars(_TITLES[name], "rows/s", _bars(result)) for name, result in results.items()]
    report.publish("batching", "What batching is worth", [table], goals, panels)


def _gain(result: Result) -> float:
    return result.batched.calls_per_s / result.single.calls_per_s


def _bars(result: Result) -> dict[str, float]:
    return {
        "in process": result.direct_per_s,
        "max-batch 1": result.single.calls_per_s,
        "dynamic": result.batched.calls_per_s,
    }


def _row(title: str, how: str, cell: Measurement, direct: float) -> tuple[str, ...]:
    return (
        title,
        how,
        report.number(cell.calls_per_s),
        report.number(cell.p50_ms),
        report.number(cell.p99_ms),
        report.number(cell.server_us),
        report.number(cell.calls_per_s / direct),
    )
