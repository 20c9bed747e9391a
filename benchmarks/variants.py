"""What a second, smaller variant is worth when more calls come than the full model can answer in time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import open_loop, report, variants_models
from benchmarks.load import http1_request, measure_http1
from benchmarks.service import Service, airserve
from benchmarks.variants_models import Images, Labels

DEADLINE_MS = 100
SECONDS = 8.0
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
ROWS = 8
"""Pictures of one call, as a device sends them that looks at a sheet of digits."""

_CONNECTIONS = 16
_COMMAND = Path(sys.executable).with_name("airserve")
_SERVED = {"one variant": "wide", "two variants": "wide,narrow"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One load on one service: calls that came, were answered in time, refused and late; pictures by variant."""

    came: int
    in_time: int
    refused: int
    late: int
    by: Counter[str]
    right: Counter[str]
    p50_ms: float
    p99_ms: float

    @property
    def goodput(self) -> float:
        """Answers in time, a second."""
        return self.in_time / SECONDS

    def share(self, variant: str) -> float:
        """The part of the pictures that this variant answered."""
        return self.by[variant] / max(1, self.by.total())

    @property
    def accuracy(self) -> float:
        """Of the pictures that were answered in time."""
        return self.right.total() / max(1, self.by.total())


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        package = variants_models.make(Path(folder))
        manifest = variants_models.accuracies(package)
        images, labels = variants_models.held_out()
        with airserve([], lambda state: _publish_models(state, package)) as ours:
            capacity = _capacity(ours, images)
            small = _capacity(ours, images, "narrow")
            cells = {
                (load, name): _measure(ours, _model(name), images, labels, load * capacity)
                for load in LOADS
                for name in _SERVED
            }
    _publish(cells, manifest, capacity, small)


def _model(name: str) -> str:
    return name.replace(" ", "-")


def _publish_models(state: Path, package: Path) -> None:
    for name, served in _SERVED.items():
        command = [_COMMAND, "publish", package, "--name", _model(name), "--serve", served, "--state-dir", state]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def _capacity(ours: Service, images: Images, variant: str = "wide") -> float:
    """Calls a second that one variant answers at most, with nobody in a hurry."""
    asked = {"airserve-variant": variant, "airserve-timeout-ms": "20000"}
    request = _request(ours, "two-variants", images[:ROWS], asked)
    cell = measure_http1(ours.http_url, request, connections=_CONNECTIONS, seconds=4.0, server_pid=ours.pid)
    return cell.calls_per_s


def _request(ours: Service, model: str, rows: Images, headers: dict[str, str]) -> bytes:
    tensor = {
        "name": "x", "datatype": "FP32", "shape": list(rows.shape), "parameters": {"binary_data_size": rows.nbytes},
    }  # fmt: skip
    document = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "authorization": f"Bearer {ours.key}",
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(document)),
        **headers,
    }
    return http1_request(f"{ours.http_url}/v2/models/{model}/infer", headers, document + rows.tobytes())


def _measure(ours: Service, model: str, images: Images, labels: Labels, calls_a_second: float) -> Cell:
    """The pictures in turn, `ROWS` a call, at random moments."""
    starts = range(0, len(images) - ROWS + 1, ROWS)
    asked = {"airserve-timeout-ms": str(DEADLINE_MS)}
    requests = [_request(ours, model, images[start : start + ROWS], asked) for start in starts]
    open_loop.run(ours.http_url, requests, calls_a_second=calls_a_second, seconds=1.0, seed=1)
    replies = open_loop.run(ours.http_url, requests, calls_a_second=calls_a_second, seconds=SECONDS, seed=2)
    return _cell(replies, labels)


def _cell(replies: Sequence[open_loop.Reply], labels: Labels) -> Cell:
    good = [each for each in replies if each.status == 200 and each.seconds * 1e3 <= DEADLINE_MS]
    by: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for each in good:
        scores = np.frombuffer(each.body[-ROWS * 10 * 4 :], np.float32).reshape(ROWS, 10)
        truth = labels[each.request * ROWS : (each.request + 1) * ROWS]
        # A service with one variant says nothing of it.
        variant = each.variant or "wide"
        by[variant] += ROWS
        right[variant] += int((scores.argmax(1) == truth).sum())
    refused = sum(each.status == 503 for each in replies)
    times = [each.seconds * 1e3 for each in good] or [0.0]
    return Cell(
        len(replies), len(good), refused, len(replies) - len(good) - refused, by, right,
        float(np.percentile(times, 50)), float(np.percentile(times, 99)),
    )  # fmt: skip


def _publish(cells: dict[tuple[float, str], Cell], manifest: dict[str, float], capacity: float, small: float) -> None:
    tables = (_in_time(cells, capacity, small), _accuracies(cells, manifest))
    goodput = {name: cells[2.0, name].goodput for name in _SERVED}
    shares = {f"{load:g} ×": 100 * cells[load, "two variants"].share("wide") for load in LOADS}
    panels = (
        report.Bars("Answers in time at twice the capacity", "calls/s", goodput),
        report.Bars("By the wide net, with two variants", "% of the answers", shares),
    )
    report.publish(
        "variants", "What a smaller variant is worth", tables, _goals(cells, manifest, small / capacity), panels
    )


def _goals(cells: dict[tuple[float, str], Cell], manifest: dict[str, float], times: float) -> tuple[report.Goal, ...]:
    alone, two, half = cells[2.0, "one variant"], cells[2.0, "two variants"], cells[0.5, "two variants"]
    expected = sum(accuracy * two.share(name) for name, accuracy in manifest.items())
    away = abs(two.accuracy - expected)
    return (
        report.Goal("the wide net is so many times slower", times, 3.0),
        report.Goal("goodput at twice the capacity, two variants to one", two.goodput / max(0.1, alone.goodput), 1.8),
        report.Goal("answered by the wide net at half the capacity", half.share("wide"), 0.98),
        report.Goal("accuracy at twice the capacity, away from the manifest's", away, 0.01, at_most=True),
    )


def _in_time(cells: dict[tuple[float, str], Cell], capacity: float, small: float) -> report.Table:
    columns = (
        "load", "served", "calls/s", "in time/s", "refused", "late", "by the wide net", "accuracy", "p50 ms", "p99 ms",
    )  # fmt: skip
    rows = [
        (
            f"{load:g} ×", name, report.number(cell.came / SECONDS),
            report.number(cell.goodput), f"{cell.refused / cell.came:.1%}", f"{cell.late / cell.came:.1%}",
            f"{cell.share('wide'):.0%}", f"{cell.accuracy:.4f}", report.number(cell.p50_ms), report.number(cell.p99_ms),
        )
        for (load, name), cell in cells.items()
    ]  # fmt: skip
    note = (
        f"Calls of {ROWS} pictures (8×8 digits that neither net has seen) at random moments (Poisson), each with "
        f"{DEADLINE_MS} ms, over HTTP/1.1 in plaintext; generator and service share the cores. Load is in multiples of "
        f"what the wide net alone answers, {capacity:.0f} calls/s; the narrow one answers {small:.0f}. In time: within "
        "the deadline as the client sees it; accuracy: of those answers, against the true digits."
    )
    return report.Table("Answers in time", columns, rows, (note,))


def _accuracies(cells: dict[tuple[float, str], Cell], manifest: dict[str, float]) -> report.Table:
    both = [cell for (_, name), cell in cells.items() if name == "two variants"]
    rows = [_variant_row(name, accuracy, both) for name, accuracy in manifest.items()]
    return report.Table("Accuracy by variant", ("variant", "in the manifest", "of the answers", "pictures"), rows)


def _variant_row(name: str, accuracy: float, cells: Sequence[Cell]) -> tuple[str, ...]:
    count, right = (sum(getattr(cell, what)[name] for cell in cells) for what in ("by", "right"))
    return name, f"{accuracy:.4f}", f"{right / count:.4f}" if count else "-", f"{count:,}"


if __name__ == "__main__":
    main()
