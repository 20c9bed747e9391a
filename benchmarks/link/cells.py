"""Runs of clients over links, one experiment a cell of workload × link; what was run is kept in `.cache/link/runs`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from airserve.lab.experiment import DEFAULT_SERVICE, read_experiment
from airserve.lab.experiment_run import run_experiment
from airserve.lab.measures import Run
from benchmarks.link.clients.pace import WARM_S
from benchmarks.link.workloads import kind_of, open_workload

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "link"
CUT_S = 3.0
_SERVICE = [*DEFAULT_SERVICE, "--no-demo"]


@dataclass(frozen=True, slots=True)
class Settings:
    """`seconds` are measured ones of each run, of which the network is lost for 3 in the middle, unless not `cut`."""

    seconds: float
    seed: int = 0
    cut: bool = True


def workload_folder(name: str) -> Path:
    """Where the frames and packages of a workload lie."""
    return CACHE / name


def run_cell(workload: str, link: str, clients: Sequence[str], settings: Settings) -> list[Run]:
    """The runs of these clients over one link: those kept from before with the same settings, and the others now."""
    found = kept_runs(workload, link, settings)
    missing = [client for client in clients if client not in found]
    if missing:
        source = read_experiment(_write(workload, link, missing, settings))
        for run in run_experiment(source, lambda sentence: print(f"  {workload}: {sentence}", file=sys.stderr)):
            found[run.client] = run
            if run.fault:
                print(f"  {run.client} over {run.link}: {run.fault}", file=sys.stderr)
        _keep(workload, link, settings, [run for run in found.values() if run.fault is None])
    return [found[client] for client in clients if client in found]


def kept_runs(workload: str, link: str, settings: Settings) -> dict[str, Run]:
    """What was run before, by client."""
    file = _cell(workload, link, settings) / "runs.json"
    if not file.exists():
        return {}
    return {run.client: run for run in msgspec.json.decode(file.read_bytes(), type=list[Run])}


def forget(workload: str, link: str, clients: Sequence[str], settings: Settings) -> None:
    """Run these anew the next time."""
    runs = kept_runs(workload, link, settings)
    _keep(workload, link, settings, [run for name, run in runs.items() if name not in clients])


def _keep(workload: str, link: str, settings: Settings, runs: list[Run]) -> None:
    file = _cell(workload, link, settings) / "runs.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(runs))
    fresh.replace(file)


def _cell(workload: str, link: str, settings: Settings) -> Path:
    cut = "cut" if settings.cut else "whole"
    return CACHE / "runs" / f"{workload}-{link.replace('/', '_')}-{settings.seconds:g}s-{settings.seed}-{cut}"


def _write(workload: str, link: str, clients: Sequence[str], settings: Settings) -> Path:
    """The cell's experiment as a file: `airserve lab run` repeats it, with the repository on PYTHONPATH."""
    folder = workload_folder(workload)
    setup = kind_of(workload).prepare(folder)
    os.environ["PYTHONPATH"] = str(ROOT)
    cut = f"cuts = [{{ at = {WARM_S + settings.seconds / 2:g}, seconds = {CUT_S} }}]" if settings.cut else ""
    lines = [
        f'name = "{workload}"',
        f"links = [{json.dumps(link)}]",
        f"seconds = {WARM_S + settings.seconds:g}",
        f"seed = {settings.seed}",
        cut,
        "",
        "[service]",
        f"setup = {json.dumps(setup)}",
        f"command = {json.dumps(_SERVICE)}",
    ]
    for client in clients:
        lines += ["", "[[clients]]", f'name = "{client}"', f"command = {json.dumps(command(client, workload))}"]
    file = _cell(workload, link, settings) / "experiment.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def command(client: str, workload: str) -> list[str]:
    """What starts a client: `ours without codecs` is the module `ours` with a feature turned off."""
    module, _, feature = client.partition(" without ")
    folder = workload_folder(workload)
    words = [sys.executable, "-m", f"benchmarks.link.clients.{module.replace(' ', '_')}", workload, str(folder)]
    if feature:
        words += ["--without", feature]
    if module == "jpeg h2":
        words.append(str(open_workload("vision", folder).facts["jpeg"].partition(":")[2]))  # type: ignore[attr-defined]
    return words
