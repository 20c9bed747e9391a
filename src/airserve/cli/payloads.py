"""`airserve payloads`: what projects with payload logging had kept of their calls."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from airserve.cli.output import AsJson, print_rows
from airserve.cli.state import StateDir, settings_of

payloads = typer.Typer(no_args_is_help=True, help="Inputs and answers of projects that asked to keep them: list, show.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(payloads, name="payloads")


@payloads.command("list")
def list_projects(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Projects of which something is kept. Example: `airserve payloads list`."""
    from airserve.server.installation import payload_folder
    from airserve.server.payload_log import kept_projects

    folder = payload_folder(settings_of(state_dir))
    rows = [
        {
            "project": project,
            "files": len(files := list((folder / project).glob("*.jsonl*"))),
            "bytes": sum(file.stat().st_size for file in files),
        }
        for project in kept_projects(folder)
    ]
    print_rows(rows, as_json=as_json, title="Payloads", empty="nothing is kept; see docs/secure-models.md")


@payloads.command()
def show(project: Annotated[str, typer.Argument(help="The project's id.")], state_dir: StateDir) -> None:
    """Every record of a project, one JSON object a line, oldest first. Example: `airserve payloads show p_1a2b`."""
    from airserve.server.installation import payload_folder, store_policy
    from airserve.server.payload_log import read_payloads

    settings = settings_of(state_dir)
    for record in read_payloads(payload_folder(settings), project, store_policy(settings).key):
        typer.echo(msgspec.json.encode(record))
