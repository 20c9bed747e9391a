"""`airserve projects`: what a tenant's keys, usage and budgets are told apart by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc
from airserve.cli.tenants import NameOrId

if TYPE_CHECKING:
    from airserve.accounts.projects import Project

ProjectName = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name or id.")]

projects = typer.Typer(no_args_is_help=True, help="Projects of a tenant: create, list, archive, payloads.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(projects, name="projects")


@projects.command()
def create(
    tenant: NameOrId,
    name: Annotated[str, typer.Argument(help="The name of the new project.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """A new project. Example: `airserve projects create acme "line 4"`."""
    from airserve.accounts.projects import create_project

    with open_database(state_dir) as database:
        project = create_project(database, tenant, name, now_ns=time.time_ns())
    _say(project, f"created project [bold]{project.name}[/]  {project.id}", as_json)


@projects.command("list")
def list_all(tenant: NameOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """All projects of a tenant. Example: `airserve projects list acme`."""
    from airserve.accounts.projects import list_projects

    with open_database(state_dir) as database:
        rows = [_row(project) for project in list_projects(database, tenant)]
    if not as_json:
        # A project goes by its name; the id is for programs.
        rows = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    print_rows(rows, as_json=as_json, title="Projects", empty="no project")


@projects.command()
def archive(tenant: NameOrId, project: ProjectName, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Archive a project: its keys open nothing any more, its usage stays.

    Example: `airserve projects archive acme "line 4"`
    """
    from airserve.accounts.projects import archive_project

    with open_database(state_dir) as database:
        archived = archive_project(database, tenant, project, now_ns=time.time_ns())
    _say(archived, f"archived project [bold]{archived.name}[/]", as_json)


@projects.command()
def payloads(
    tenant: NameOrId,
    project: ProjectName,
    state_dir: StateDir,
    log: Annotated[bool, typer.Option("--log/--no-log", help="Keep inputs and answers, or keep none.")] = False,
    retention_days: Annotated[int, typer.Option(min=1, help="How many days they are kept.")] = 30,
    redact: Annotated[
        str, typer.Option(help="Inputs, outputs and fields whose content is left out, separated by commas.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say whether the inputs and answers of a project are kept. They are not, unless this says so.

    Example: `airserve projects payloads acme "line 4" --log --retention-days 7 --redact prompt,email`
    """
    from airserve.accounts.payload_logging import PayloadLogging
    from airserve.accounts.projects import set_payload_logging

    setting = PayloadLogging(log, retention_days, tuple(name.strip() for name in redact.split(",") if name.strip()))
    with open_database(state_dir) as database:
        changed = set_payload_logging(database, tenant, project, setting, now_ns=time.time_ns())
    kept = f"are kept for {retention_days} days" if log else "are not kept"
    _say(changed, f"inputs and answers of project [bold]{changed.name}[/] {kept}", as_json)


def _row(project: Project) -> dict[str, Any]:
    logging = project.payload_logging
    return {
        "id": project.id,
        "name": project.name,
        "payloads": f"{logging.retention_days} days" if logging.enabled else "not kept",
        "redacted": ", ".join(logging.redact),
        "created": utc(project.created_ns),
        "archived": utc(project.archived_ns),
    }


def _say(project: Project, text: str, as_json: bool) -> None:
    if as_json:
        print_json(_row(project))
    else:
        console.print(text, highlight=False)
