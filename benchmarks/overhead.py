"""What serving adds to a model that costs almost nothing: an MLP 64 → 128 → 10, one row a call."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from airserve.accounts import load_or_create_pepper
from airserve.metering.prices import set_price
from airserve.storage import Database
from benchmarks import calls, in_process, models, money, report, service
from benchmarks.load import Measurement, median

CONNECTIONS = (1, 32)
SECONDS = 2.5
ROUNDS = 3
PLANNED = "Airserve, with a plan"


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        model = models.build(Path(folder), "tiny")["tiny"]
        row = models.rows(models.MLP_INPUT)
        expected = in_process.answer(model, row)
        alone = in_process.measure(model, row)
        customers: list[str] = []
        publications = [service.Publication("tiny", model)]
        with (
            service.fastapi_peer(model) as peer,
            service.airserve(publications, lambda state: customers.extend(_customers(state))) as ours,
        ):
            planned = replace(ours, key=customers[1])
            cells = _measure(
                {
                    ("FastAPI", "JSON"): calls.peer_json_call(peer, row, expected),
                    ("Airserve", "JSON"): calls.json_call(ours, "tiny", row, expected),
                    ("FastAPI", "binary"): calls.peer_binary_call(peer, row, expected),
                    ("Airserve", "binary"): calls.binary_call(ours, "tiny", row, expected),
                    (PLANNED, "binary"): calls.binary_call(planned, "tiny", row, expected),
                }
            )
    _publish(alone, cells, money.measure())


def _customers(state: Path) -> tuple[str, str]:
    database = Database.open(state)
    set_price(database, "*", per_call_nano=1_000, per_compute_second_nano=1_000_000_000, now_ns=time.time_ns())
    keys = money.customers(database, load_or_create_pepper(state))
    database.close()
    return keys


Cells = dict[tuple[str, str, int], Measurement]


def _measure(ways: dict[tuple[str, str], calls.RestCall]) -> Cells:
    """The servers take turns, so that a machine that slows down slows them alike; the median round counts."""
    rounds: dict[tuple[str, str, int], list[Measurement]] = defaultdict(list)
    for _ in range(ROUNDS):
        for connections in CONNECTIONS:
            for (server, body), call in ways.items():
                rounds[server, body, connections].append(call.measure(connections=connections, seconds=SECONDS))
    return {cell: median(measured) for cell, measured in rounds.items()}


def _publish(alone: in_process.InProcess, cells: Cells, cost: money.Cost) -> None:
    rows = [
        _row(server, body, cell, alone, cells["FastAPI", body, connections])
        for (server, body, connections), cell in sorted(cells.items(), key=lambda item: (item[0][1:], item[0][0]))
    ]
    columns = ("server", "body", "connections", "req/s", "p50 ms", "p99 ms", "added ms", "server CPU µs",
               "client CPU µs", "of in-process", "of FastAPI")  # fmt: skip
    notes = (
        f"In this process ONNX Runtime makes {report.number(alone.calls_per_s)} calls/s on one thread (median "
        f"{alone.p50_ms * 1e3:.0f} µs) and {report.number(alone.two_threads_per_s)} on two.",
        "HTTP/1.1 in plaintext; client and server share the cores. `added` is the median less the in-process median. "
        "`of in-process` is against two threads. The FastAPI application neither authenticates, batches nor meters; "
        f"its binary bodies are bare float32. The median of {ROUNDS} rounds in turn. `{PLANNED}` is a tenant with five "
        "limits and a strict budget, none of which it reaches; the other tenant has no plan.",
        f"Gate, limits, budget and meter alone, on one thread: {cost.with_us:.1f} µs of CPU a call with that plan, "
        f"{cost.without_us:.1f} without a plan.",
    )
    table = report.Table("Tiny MLP, one row a call", columns, rows, notes)
    binary, idle = cells["Airserve", "binary", 32], cells["Airserve", "binary", 1]
    goals = [
        report.Goal("binary calls per second at 32 connections", binary.calls_per_s, 5_000),
        report.Goal("server CPU of a binary call at 32 connections, µs", binary.server_us, 150, at_most=True),
        report.Goal(
            "the same, as a share of the FastAPI application's",
            binary.server_us / cells["FastAPI", "binary", 32].server_us,
            1,
            at_most=True,
        ),
        report.Goal("gate, limits, budget and meter of a call, µs of CPU", cost.with_us, 40, at_most=True),
        report.Goal(
            "calls per second with limits and a strict budget, as a share of those without a plan",
            cells[PLANNED, "binary", 32].calls_per_s / binary.calls_per_s,
            0.97,
        ),
        report.Goal("added to the median at one connection, ms", idle.p50_ms - alone.p50_ms, 1, at_most=True),
    ]
    panels = [
        report.Bars("Calls per second, 32 connections", "req/s", _panel(cells, "calls_per_s"), 5_000),
        report.Bars("Server CPU a call, 32 connections", "µs", _panel(cells, "server_us"), 150),
    ]
    report.publish("overhead", "What serving adds", [table], goals, panels)


def _row(server: str, body: str, cell: Measurement, alone: in_process.InProcess, peer: Measurement) -> tuple[str, ...]:
    return (
        server,
        body,
        str(cell.connections),
        report.number(cell.calls_per_s),
        report.number(cell.p50_ms),
        report.number(cell.p99_ms),
        report.number(cell.p50_ms - alone.p50_ms),
        report.number(cell.server_us),
        report.number(cell.client_us),
        f"{cell.calls_per_s / alone.two_threads_per_s:.3f}",
        report.number(cell.calls_per_s / peer.calls_per_s),
    )


def _panel(cells: Cells, field: str) -> dict[str, float]:
    return {
        f"{server} {body}": getattr(cell, field)
        for (server, body, connections), cell in cells.items()
        if connections == 32
    }
