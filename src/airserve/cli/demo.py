"""`airserve demo`: what the service does over a mobile link, to look at."""

from __future__ import annotations

import typer

from airserve.cli import demo_camera


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    group = typer.Typer(no_args_is_help=True, help="See what the service does over a mobile link.")
    demo_camera.register(group)
    app.add_typer(group, name="demo")
