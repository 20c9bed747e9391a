"""`airserve members`: the people of a tenant, and what each may do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc
from airserve.cli.tenants import NameOrId

if TYPE_CHECKING:
    from airserve.accounts.members import Member

Email = Annotated[str, typer.Argument(help="The member's e-mail address.")]
_ROLES = "owner, developer, billing or viewer"

members = typer.Typer(no_args_is_help=True, help="People of a tenant: add, list, role, remove, roles.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(members, name="members")


@members.command()
def add(
    tenant: NameOrId,
    email: Email,
    state_dir: StateDir,
    role: Annotated[str, typer.Option(help=f"One of {_ROLES}.")] = "viewer",
    as_json: AsJson = False,
) -> None:
    """A new member. Example: `airserve members add acme ada@example.org --role owner`."""
    from airserve.accounts.members import add_member

    with open_database(state_dir) as database:
        member = add_member(database, tenant, email, role, now_ns=time.time_ns())
    _say(member, f"[bold]{member.email}[/] is {member.role}", as_json)


@members.command("list")
def list_all(tenant: NameOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """All members of a tenant. Example: `airserve members list acme`."""
    from airserve.accounts.members import list_members

    with open_database(state_dir) as database:
        rows = [_row(member) for member in list_members(database, tenant)]
    print_rows(rows, as_json=as_json, title="Members", empty="no member yet; see airserve members add --help")


@members.command()
def role(
    tenant: NameOrId,
    email: Email,
    role: Annotated[str, typer.Argument(help=f"One of {_ROLES}.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Change what a member may do. Example: `airserve members role acme bob@example.org billing`."""
    from airserve.accounts.members import set_role

    with open_database(state_dir) as database:
        member = set_role(database, tenant, email, role, now_ns=time.time_ns())
    _say(member, f"[bold]{member.email}[/] is {member.role}", as_json)


@members.command()
def remove(tenant: NameOrId, email: Email, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Remove a member and revoke their keys. Example: `airserve members remove acme bob@example.org`."""
    from airserve.accounts.members import remove_member

    with open_database(state_dir) as database:
        member = remove_member(database, tenant, email, now_ns=time.time_ns())
    _say(member, f"removed [bold]{member.email}[/], their keys are revoked", as_json)


@members.command()
def roles(as_json: AsJson = False) -> None:
    """What each role may do. Example: `airserve members roles`."""
    from airserve.accounts.roles import ALLOWED, Action, Role

    rows: list[dict[str, Any]] = [
        {"action": action.value, **{role.value: "yes" if action in ALLOWED[role] else "" for role in Role}}
        for action in Action
    ]
    print_rows(rows, as_json=as_json, title="Roles", empty="")


def _row(member: Member) -> dict[str, Any]:
    return {"id": member.id, "email": member.email, "role": member.role, "since": utc(member.created_ns)}


def _say(member: Member, text: str, as_json: bool) -> None:
    if as_json:
        print_json(_row(member))
    else:
        console.print(text, highlight=False)
