"""`airserve publish`: put a package, or a bare ONNX file, into the catalog."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.state import StateDir, open_catalog


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("publish")(publish)


def publish(
    path: Annotated[Path, typer.Argument(help="A package folder, a .tar.zst of one, or a bare model.onnx.")],
    state_dir: StateDir,
    name: Annotated[str | None, typer.Option(help="Publish under this name.")] = None,
    alias: Annotated[str, typer.Option(help="Point this alias at the new version.")] = "prod",
    no_alias: Annotated[bool, typer.Option("--no-alias", help="Publish without moving any alias.")] = False,
    max_batch: Annotated[int | None, typer.Option(min=0, help="Most rows of one run; 1 turns batching off.")] = None,
    default_deadline_ms: Annotated[int | None, typer.Option(min=1, help="For calls without a deadline.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a model; a running service loads it, switches without a failed call, and unloads the old one.

    Versions are 1, 2, 3 …; the same content again is the version that it was.
    Example: `airserve publish digits/` or `airserve publish model.onnx --name scorer --alias canary`
    """
    with open_catalog(state_dir) as catalog:
        published = catalog.publish(
            path,
            name=name,
            alias=None if no_alias else alias,
            max_batch=max_batch,
            default_deadline_ms=default_deadline_ms,
        )
    if as_json:
        print_json(asdict(published))
        return
    pointing = f", '{published.alias}' points at it" if published.alias else ""
    console.print(
        f"published [bold]{published.model}[/] version {published.version}{pointing}  sha256:{published.address[:12]}",
        highlight=False,
    )
