"""`airserve tenants`: who is served."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc

if TYPE_CHECKING:
    from airserve.accounts.tenant import Tenant

NameOrId = Annotated[str, typer.Argument(help="The tenant's name or id.")]

tenants = typer.Typer(no_args_is_help=True, help="Customers: create, list, suspend, activate, close, currency.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(tenants, name="tenants")


@tenants.command()
def create(
    name: str,
    state_dir: StateDir,
    currency: Annotated[str, typer.Option(help="Of its plans and budgets, three letters.")] = "EUR",
    as_json: AsJson = False,
) -> None:
    """A new tenant. Example: `airserve tenants create "Acme Robotics" --currency CHF`."""
    from airserve.accounts import create_tenant

    with open_database(state_dir) as database:
        tenant = create_tenant(database, name, now_ns=time.time_ns(), currency=currency)
    _say(tenant, f"created tenant [bold]{tenant.name}[/]  {tenant.id}", as_json)


@tenants.command("list")
def list_all(state_dir: StateDir, as_json: AsJson = False) -> None:
    """All tenants. Example: `airserve tenants list --json`."""
    from airserve.accounts import list_tenants

    with open_database(state_dir) as database:
        rows: list[dict[str, Any]] = [
            {
                "id": each.id,
                "name": each.name,
                "status": each.status,
                "currency": each.currency,
                "created": utc(each.created_ns),
            }
            for each in list_tenants(database)
        ]
    print_rows(rows, as_json=as_json, title="Tenants", empty="no tenant yet; see airserve tenants create --help")


@tenants.command()
def suspend(tenant: NameOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Refuse a tenant's calls until it is activated again. Example: `airserve tenants suspend acme`."""
    _set(state_dir, tenant, "suspended", as_json)


@tenants.command()
def activate(tenant: NameOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Serve a suspended tenant again. Example: `airserve tenants activate acme`."""
    _set(state_dir, tenant, "active", as_json)


@tenants.command()
def close(tenant: NameOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Close a tenant for good; its usage stays. Example: `airserve tenants close acme`."""
    _set(state_dir, tenant, "closed", as_json)


@tenants.command()
def currency(
    tenant: NameOrId,
    currency: Annotated[str, typer.Argument(help="Three letters, such as CHF.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Change the currency, before the first plan and budget. Example: `airserve tenants currency acme CHF`."""
    from airserve.accounts.tenants import set_tenant_currency

    with open_database(state_dir) as database:
        changed = set_tenant_currency(database, tenant, currency, now_ns=time.time_ns())
    _say(changed, f"tenant [bold]{changed.name}[/] pays in {changed.currency}", as_json)


def _set(state_dir: Path, name: str, status: str, as_json: bool) -> None:
    from airserve.accounts import set_tenant_status

    with open_database(state_dir) as database:
        tenant = set_tenant_status(database, name, status, now_ns=time.time_ns())
    _say(tenant, f"tenant [bold]{tenant.name}[/] is {status}", as_json)


def _say(tenant: Tenant, text: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(tenant))
    else:
        console.print(text, highlight=False)
