"""`airserve drift`: whether what a model is called with still looks like what it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
import typer
from rich.markup import escape

from airserve.cli.control import OperatorKey, ask_control
from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.service import Ca, Url
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import NotFoundError

if TYPE_CHECKING:
    from airserve.serving.drift.window import DriftReport

_LEVELS = {"significant": "[red]significant[/]", "moderate": "[yellow]moderate[/]"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("drift")(drift)


def drift(
    model: Annotated[str, typer.Argument(help="A published model.")],
    state_dir: StateDir,
    data: Annotated[
        Path | None,
        typer.Option(help="Compare these rows instead: a folder of pictures, .npy, .npz by input, .txt of lines."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=2000, help="Show so many statistics, the worst first.")] = 10,
    url: Url = None,
    key: OperatorKey = None,
    ca: Ca = None,
    as_json: AsJson = False,
) -> None:
    """Hold the last hour's calls, or a file, against the baseline in the model's package; exit code 1 where it drifted.

    Example: `airserve drift digits` or `airserve drift digits --data this-week.npy`
    """
    if data is not None:
        versions = [_of_file(state_dir, model, data, count)]
    else:
        path = f"/control/models/{quote(model, safe='')}/drift?count={count}"
        versions = ask_control(path, url, key, ca, state_dir)
        if not versions:
            raise NotFoundError(
                f"no version of '{model}' that is served has a baseline; see airserve publish --baseline"
            )
    if as_json:
        print_json(versions)
    else:
        for each in versions:
            _print(model, each)
    if any(each["drifted"] for each in versions):
        raise typer.Exit(1)


def _of_file(state_dir: Path, model: str, data: Path, count: int) -> dict[str, Any]:
    """The rows of a file against the baseline of the version that `prod` points at, else the newest that has one."""
    from airserve.models.baseline import BASELINE_NAME
    from airserve.serving.drift.sample import drift_of_sample

    with open_catalog(state_dir) as catalog:
        infos = [info for info in catalog.show(model) if info.retired_ns is None]
        infos = [info for info in infos if BASELINE_NAME in catalog.store.open(info.address).digests]
        if not infos:
            raise NotFoundError(f"no version of '{model}' has a baseline; see airserve publish --baseline")
        info = next((info for info in infos if "prod" in info.aliases), infos[-1])
        report = drift_of_sample(info.manifest, catalog.store.open(info.address), data)
    return {"version": info.version, **_document(report, count)}


def _document(report: DriftReport, count: int) -> dict[str, Any]:
    """As the control API tells it."""
    document: dict[str, Any] = msgspec.to_builtins(report)
    return {**document, "statistics": document["statistics"][:count], "drifted": list(report.drifted)}


def _print(model: str, found: dict[str, Any]) -> None:
    drifted = found["drifted"]
    if any(each["level"] == "few calls" for each in found["statistics"]):
        told = f"{found['rows']} rows of {found['calls']} calls are too few to tell"
        console.print(f"{escape(model)} version {found['version']}: {told}", highlight=False)
        return
    verdict = f"[red]{len(drifted)} drifted[/]" if drifted else "[green]no drift[/]"
    rows = [
        {
            "statistic": escape(each["name"]),
            "PSI": f"{each['psi']:.3f}",
            "by chance": f"{each['expected']:.3f}",
            "change": _LEVELS.get(each["level"], each["level"]),
        }
        for each in found["statistics"]
    ]
    title = f"{escape(model)} version {found['version']}: {verdict}"
    print_rows(rows, as_json=False, title=title, empty="no statistics")
    center = "" if found["centroid"] is None else f"; the mean embedding moved by {found['centroid']:.3f} of its spread"
    console.print(
        f"{found['rows']} rows of {found['calls']} calls against {found['baseline_rows']} of the baseline{center}",
        highlight=False,
    )
