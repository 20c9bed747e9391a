"""What an experiment leaves in its folder: `calls.csv`, `results.csv`, `results.md`, `experiment.toml` and plots."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from airserve.lab.experiment import Source
from airserve.lab.link_files import load_link
from airserve.lab.machine import describe
from airserve.lab.measures import DEADLINES_MS, Call, Figures, Run, figures
from airserve.lab.plots import write_plots

_HITS = tuple(f"hits_{deadline}_ms" for deadline in DEADLINES_MS)


def table(runs: Sequence[Run]) -> list[Figures]:
    """One row a link and client, in the order of the runs."""
    cells = dict.fromkeys((run.link, run.client) for run in runs)
    return [figures([run for run in runs if (run.link, run.client) == cell]) for cell in cells]


def write_report(source: Source, runs: Sequence[Run], folder: Path) -> list[Figures]:
    """Write everything into `folder`, which is made, and return the rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = table(runs)
    if source.path != (folder / "experiment.toml").resolve():
        shutil.copyfile(source.path, folder / "experiment.toml")
    _write_calls(runs, folder / "calls.csv")
    _write_rows(rows, folder / "results.csv")
    plots = write_plots(runs, rows, folder)
    (folder / "results.md").write_text(markdown(source, runs, rows, plots))
    return rows


def markdown(source: Source, runs: Sequence[Run], rows: Sequence[Figures], plots: Sequence[str] = ()) -> str:
    """The results as a page in Markdown: the table, the plots, and how to repeat it."""
    heads = ["link", "client", "calls", "answered", "p50 ms", "p95 ms", "p99 ms", "mean ms"]
    heads += [f"≤ {deadline} ms" for deadline in DEADLINES_MS]
    heads += [
        "KB up",
        "KB down",
        "accuracy",
        "device CPU ms",
        "first answer after an outage, s (p50 / max)",
        "on device",
    ]
    lines = [f"# {source.experiment.name}", "", f"| {' | '.join(heads)} |", f"|{'---|' * 2}{'--:|' * (len(heads) - 2)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    lines += ["", *_notes(runs, rows), ""]
    lines += [line for plot in plots for line in (f"![{plot.removesuffix('.png')}]({plot})", "")]
    lines += [*_how_to_repeat(source), ""]
    return "\n".join(lines)


def _cells(row: Figures) -> list[str]:
    mark = "" if row.bytes_from == "client" else "*"
    after = "-"
    if row.after_outage_p50_s is not None and row.after_outage_max_s is not None:
        after = f"{row.after_outage_p50_s:.2f} / {row.after_outage_max_s:.2f} ({row.outages})"
    return [
        row.link,
        row.client,
        str(row.calls),
        _percent(row.answered),
        *(_number(value, 1) for value in (row.p50_ms, row.p95_ms, row.p99_ms, row.mean_ms)),
        *(_percent(hit) for hit in row.hits),
        *(_number(None if size is None else size / 1e3, 2) + mark for size in (row.bytes_up, row.bytes_down)),
        _percent(row.accuracy),
        _number(row.cpu_ms, 2),
        after,
        _percent(row.device_share),
    ]


def _notes(runs: Sequence[Run], rows: Sequence[Figures]) -> list[str]:
    notes = [
        "Latencies are of answered calls; a deadline is hit by a call answered in time, out of all calls. After "
        "outages: median / longest (how many outages)."
    ]
    if any(row.bytes_from == "link" for row in rows):
        notes.append("\\* counted by the emulated link, with headers, handshakes and what was sent twice.")
    notes += [f"- **{run.client} over {run.link}, repeat {run.repeat + 1}**: {run.fault}" for run in runs if run.fault]
    late = max(run.late_share for run in runs)
    if late > 0.01:
        notes.append(f"- **{late:.1%} of the packets left the emulator late**: this machine was too busy for the link.")
    return notes


def _how_to_repeat(source: Source) -> list[str]:
    experiment = source.experiment
    seeds = ", ".join(str(experiment.seed + repeat) for repeat in range(experiment.repeats))
    how = (
        f"`airserve lab run experiment.toml --out FOLDER`; seeds {seeds}, {experiment.seconds:g} s a run; the file's "
        f"SHA-256 is `{source.sha256}`."
    )
    lines = ["## How to repeat it", "", how, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in describe().items()]
    lines += ["", "| link | source of its figures |", "|---|---|"]
    for name in experiment.links:
        path = source.path.parent / name
        link = load_link(path if path.is_file() else name, experiment.seed)
        lines.append(f"| {name} | {link.source or '-'} |")
    return lines


def _write_calls(runs: Sequence[Run], path: Path) -> None:
    names = [field.name for field in fields(Call)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["link", "client", "repeat", "seed", *names])
        for run in runs:
            for call in run.calls:
                values = [_plain(getattr(call, name)) for name in names]
                writer.writerow([run.link, run.client, run.repeat, run.seed, *values])


def _write_rows(rows: Sequence[Figures], path: Path) -> None:
    names = [field.name for field in fields(Figures) if field.name != "hits"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *_HITS])
        for row in rows:
            writer.writerow([*(_plain(getattr(row, name)) for name in names), *(_plain(hit) for hit in row.hits)])


def _plain(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.2f} %"
