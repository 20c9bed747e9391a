"""`airserve lab`: emulated links, traces, and experiments over them."""

from __future__ import annotations

import typer

from airserve.cli import lab_check, lab_run, lab_shell, lab_traces


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    group = typer.Typer(no_args_is_help=True, help="Emulate mobile links, and run anything over them.")
    for part in (lab_check, lab_shell, lab_traces, lab_run):
        part.register(group)
    app.add_typer(group, name="lab")
