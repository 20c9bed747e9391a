"""`airserve lab run`: an experiment over emulated links, from one file to tables and plots."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airserve.cli.output import AsJson, error_console, fail, print_json, print_rows

Only = Annotated[list[str] | None, typer.Option(help="Only this one of the file; may be given more than once.")]


def register(group: typer.Typer) -> None:
    """Add the command to `airserve lab`."""
    group.command("run")(run)


def run(
    file: Annotated[Path, typer.Argument(help="The experiment, TOML.")],
    out: Annotated[Path, typer.Option(help="Folder for tables and plots.")],
    link: Only = None,
    client: Only = None,
    repeats: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of each run, instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run every client over every link of a file, and write results.md, results.csv, calls.csv and plots.

    Example: `airserve lab run experiment.toml --out results --link lte --seconds 10`
    """
    from airserve.lab import experiment as experiments
    from airserve.lab.experiment_run import run_experiment
    from airserve.lab.report import write_report

    source = experiments.read_experiment(file)
    changes = {"repeats": repeats, "seconds": seconds, "seed": seed}
    changed = msgspec.structs.replace(
        source.experiment, **{name: value for name, value in changes.items() if value is not None}
    )
    changed = experiments.narrowed(changed, link or [], client or [])
    experiments.check(changed)
    source = msgspec.structs.replace(source, experiment=changed)
    runs = run_experiment(source, lambda sentence: error_console.print(sentence, highlight=False))
    rows = write_report(source, runs, out)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_rows([_short(asdict(row)) for row in rows], as_json=False, title=changed.name, empty="no calls")
        error_console.print(f"written to {out / 'results.md'}", highlight=False)
    faults = [run for run in runs if run.fault]
    if faults:
        fail(f"{len(faults)} of {len(runs)} runs went wrong, e.g. {faults[0].client}: {faults[0].fault}")


def _short(row: dict[str, object]) -> dict[str, object]:
    def rounded(name: str) -> object:
        value = row[name]
        return f"{value:.4g}" if isinstance(value, float) else value

    names = ("link", "client", "calls", "answered", "p50_ms", "p95_ms", "p99_ms", "bytes_up", "bytes_down", "accuracy")
    return {name: rounded(name) for name in names}
