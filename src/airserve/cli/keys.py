"""`airserve keys`: what opens the service."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc
from airserve.core.errors import InvalidInputError

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Argument(help="The tenant's name or id.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="A key for the operator, not for a tenant.")] = False,
    models: Annotated[str | None, typer.Option(help="Only these models, separated by commas.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="After this time: 12h, 30d …")] = None,
    as_json: AsJson = False,
) -> None:
    """A new key, shown this once. Example: `airserve keys create acme --models digits --expires 30d`."""
    from airserve.accounts import create_key, load_or_create_pepper

    if operator == (tenant is not None):
        raise InvalidInputError("say whose key it is: a tenant's name, or --operator")
    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        key, info = create_key(
            database,
            load_or_create_pepper(state_dir.expanduser().resolve()),
            now_ns=now_ns,
            tenant=tenant,
            name=name,
            models=[model.strip() for model in models.split(",")] if models else None,
            expires_ns=now_ns + _seconds(expires) * 10**9 if expires else None,
        )
    if as_json:
        print_json({"key": key, **asdict(info)})
        return
    typer.echo(key)
    console.print(f"key {info.id}, shown this once: keep it where only its user can read it", highlight=False)


@keys.command("list")
def list_all(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    as_json: AsJson = False,
) -> None:
    """All keys, without their secrets. Example: `airserve keys list --tenant acme`."""
    from airserve.accounts import list_keys

    with open_database(state_dir) as database:
        rows: list[dict[str, Any]] = [
            {
                "id": key.id,
                "tenant": key.tenant or "(operator)",
                "prefix": key.prefix,
                "name": key.name,
                "models": "all" if key.models is None else ", ".join(key.models),
                "created": utc(key.created_ns),
                "expires": utc(key.expires_ns),
                "revoked": utc(key.revoked_ns),
            }
            for key in list_keys(database, tenant)
        ]
    print_rows(rows, as_json=as_json, title="Keys", empty="no key yet; see airserve keys create --help")


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, or the whole key.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; a running service refuses it within a second. Example: `airserve keys revoke JBnB5BdlwLgi`."""
    from airserve.accounts import revoke_key

    with open_database(state_dir) as database:
        revoked = revoke_key(database, key, now_ns=time.time_ns())
    if as_json:
        print_json({"id": revoked, "revoked": True})
    else:
        console.print(f"revoked {revoked}", highlight=False)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise InvalidInputError(f"'{text[:20]}' is no length of time; use 90s, 15m, 12h or 30d")
    return int(match[1]) * _UNIT_S[match[2]]
