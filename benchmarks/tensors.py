"""How fast large tensors flow: one float32 picture of 3×224×224 (602,112 bytes) a call, twelve bytes back."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import calls, client_load, in_process, models, report, service
from benchmarks.load import Measurement

CONNECTIONS = (1, 4)
SECONDS = 3.0
GOAL_GBIT = 1.0

Cells = dict[tuple[str, int], Measurement]


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        model = models.build(Path(folder), "mean")["mean"]
        row = models.rows(models.MEAN_INPUT)
        expected = in_process.answer(model, row)
        cells: Cells = {}
        with service.airserve([service.Publication("mean", model)]) as ours:
            call = calls.binary_call(ours, "mean", row, expected)
            for connections in CONNECTIONS:
                cells["HTTP/1.1, bare sockets", connections] = call.measure(connections=connections, seconds=SECONDS)
                for name, url, http in _ways(ours):
                    cells[name, connections] = client_load.measure(
                        ours, url, http, "mean", row, expected, connections=connections, seconds=SECONDS
                    )
    _publish(cells, row.nbytes)


def _ways(ours: service.Service) -> list[tuple[str, str, client_load.Http]]:
    """Name, URL and the client's `http` setting."""
    return [
        ("HTTP/1.1, our client", ours.http_url, "1.1"),
        ("HTTP/1.1 over TLS, our client", ours.url, "1.1"),
        ("HTTP/2 over TLS, our client", ours.url, "2"),
        ("HTTP/3, our client", ours.url, "3"),
    ]


def _publish(cells: Cells, call_bytes: int) -> None:
    rows = [
        (
            way,
            str(connections),
            report.number(cell.calls_per_s),
            report.number(cell.calls_per_s * call_bytes / 1e6),
            report.number(_gbit(cell, call_bytes)),
            report.number(cell.p50_ms),
            report.number(cell.p99_ms),
            report.number(cell.server_us),
            report.number(cell.client_us),
        )
        for (way, connections), cell in sorted(cells.items(), key=lambda item: item[0][1])
    ]
    columns = ("way", "calls at once", "calls/s", "MB/s", "Gb/s", "p50 ms", "p99 ms", "server CPU µs", "client CPU µs")
    notes = (
        "Tensor bytes alone count, headers and TLS do not. Client and server share the cores; over HTTP/2 and HTTP/3 "
        "the calls at once share one connection.",
    )
    best = {way: max(_gbit(cell, call_bytes) for (other, _), cell in cells.items() if other == way) for way, _ in cells}
    goals = [
        report.Goal(f"{way}, Gb/s", best[way], GOAL_GBIT)
        for way in ("HTTP/1.1, our client", "HTTP/2 over TLS, our client")
    ]
    panels = [report.Bars("602 KB tensors, client and server on the same cores", "Gb/s", best, GOAL_GBIT)]
    report.publish("tensors", "Large tensors", [report.Table("602 KB tensors", columns, rows, notes)], goals, panels)


def _gbit(cell: Measurement, call_bytes: int) -> float:
    return cell.calls_per_s * call_bytes * 8 / 1e9
