"""`airserve authorities`: whose certificates a tenant's devices come with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc
from airserve.cli.tenants import NameOrId
from airserve.core.errors import InvalidInputError

authorities = typer.Typer(no_args_is_help=True, help="Certificate authorities of a tenant, for mutual TLS.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(authorities, name="authorities")


@authorities.command()
def add(
    tenant: NameOrId,
    certificate: Annotated[Path, typer.Argument(help="The authority's certificate, PEM.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Let a tenant's keys need a certificate of this authority. Example: `airserve authorities add acme ca.pem`."""
    from airserve.accounts.client_authorities import add_authority

    try:
        pem = certificate.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{certificate} cannot be read: {error.strerror}") from None
    with open_database(state_dir) as database:
        added = add_authority(database, tenant, pem, now_ns=time.time_ns())
    if as_json:
        print_json(added)
    else:
        console.print(f"trusted: {added.subject}  {added.id[:16]}; the tenant's keys now need its certificates")


@authorities.command("list")
def list_all(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """All authorities. Example: `airserve authorities list --tenant acme`."""
    from airserve.accounts.client_authorities import list_authorities

    with open_database(state_dir) as database:
        rows = [
            {
                "id": each.id if as_json else each.id[:16],
                "tenant": each.tenant_id,
                "subject": each.subject,
                "expires": utc(each.expires_ns),
            }
            for each in list_authorities(database, tenant)
        ]
    print_rows(rows, as_json=as_json, title="Authorities", empty="no authority yet: keys work without certificates")


@authorities.command()
def remove(
    tenant: NameOrId,
    id: Annotated[str, typer.Argument(help="The authority's id, or its beginning.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Trust an authority no more. Example: `airserve authorities remove acme 3f9a0c`."""
    from airserve.accounts.client_authorities import remove_authority

    with open_database(state_dir) as database:
        removed = remove_authority(database, tenant, id, now_ns=time.time_ns())
    if as_json:
        print_json({"id": removed.id, "removed": True})
    else:
        console.print(f"removed {removed.subject}")
