"""`airserve webhooks`: who is told of events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, pepper_of, settings_of, utc

if TYPE_CHECKING:
    from airserve.storage import Database

Tenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant, by name or id.")]
EndpointId = Annotated[str, typer.Argument(help="The endpoint's id, such as whe_….")]

webhooks = typer.Typer(no_args_is_help=True, help="Webhooks: add, list, remove, test, deliveries, retry.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(webhooks, name="webhooks")


@webhooks.command()
def add(
    url: Annotated[str, typer.Argument(help="Where to POST to, https://….")],
    state_dir: StateDir,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Tell what happens to this tenant; to all of them without it.")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="An event; may be repeated; all without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a URL of events; its secret is shown once.

    Events: invoice.issued, invoice.paid, invoice.void, credit_note.issued, budget.warning, budget.exhausted,
    key.created, key.rotated, key.revoked.

    Example: `airserve webhooks add https://example.com/hooks --tenant acme --event invoice.issued`
    """
    from airserve.metering.webhooks.endpoints import add_endpoint

    with open_database(state_dir) as database:
        endpoint, secret = add_endpoint(
            database,
            pepper_of(state_dir, database),
            url,
            tenant_id=_tenant_id(database, tenant),
            events=event or ["*"],
            allow_private=settings_of(state_dir).webhooks_allow_private,
            now_ns=time.time_ns(),
        )
    if as_json:
        print_json({"id": endpoint.id, "url": endpoint.url, "events": endpoint.events, "secret": secret})
        return
    console.print(f"webhook {endpoint.id} → {endpoint.url}", highlight=False, soft_wrap=True)
    console.print(f"secret  [bold]{secret}[/]  (shown this once)", highlight=False, soft_wrap=True)


@webhooks.command("list")
def list_all(state_dir: StateDir, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """All endpoints. Example: `airserve webhooks list`."""
    from airserve.metering.webhooks.endpoints import list_endpoints

    with open_database(state_dir) as database:
        names = _names(database)
        rows: list[dict[str, Any]] = [
            {
                "id": each.id,
                "tenant": names.get(each.tenant_id, each.tenant_id) if each.tenant_id else None,
                "url": each.url,
                "events": ", ".join(each.events),
                "created": utc(each.created_ns),
            }
            for each in list_endpoints(database, _tenant_id(database, tenant))
        ]
    print_rows(rows, as_json=as_json, title="Webhooks", empty="no webhook yet; see airserve webhooks add --help")


@webhooks.command()
def remove(endpoint: EndpointId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Tell an endpoint nothing more. Example: `airserve webhooks remove whe_1f…`."""
    from airserve.metering.webhooks.endpoints import remove_endpoint

    with open_database(state_dir) as database:
        removed = remove_endpoint(database, endpoint, now_ns=time.time_ns())
    _say({"id": removed.id, "removed": True}, f"removed webhook {removed.id}", as_json)


@webhooks.command()
def test(endpoint: EndpointId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Send a test message to an endpoint, now, and say what came of it. Example: `airserve webhooks test whe_1f…`."""
    from airserve.metering.webhooks.endpoints import send_test

    with open_database(state_dir) as database:
        message = send_test(database, endpoint, now_ns=time.time_ns())
        _deliver(state_dir, database)
        (row,) = [each for each in _deliveries(database, None, None, 200) if each["message"] == message]
    _say(row, f"{row['state']} {row['reason'] or row['status']}".strip(), as_json)


@webhooks.command()
def deliveries(
    state_dir: StateDir,
    tenant: Tenant = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What was sent, what waits, what failed and why. Example: `airserve webhooks deliveries --state failed`."""
    with open_database(state_dir) as database:
        rows = _deliveries(database, _tenant_id(database, tenant), state, limit)
    print_rows(rows, as_json=as_json, title="Deliveries", empty="nothing was sent yet")


@webhooks.command()
def retry(
    message: Annotated[str, typer.Argument(help="The message's id, such as msg_….")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Send a message again wherever it did not arrive. Example: `airserve webhooks retry msg_1f…`."""
    from airserve.metering.webhooks.endpoints import retry as retry_one

    with open_database(state_dir) as database:
        count = retry_one(database, message, now_ns=time.time_ns())
        _deliver(state_dir, database)
        rows = [each for each in _deliveries(database, None, None, 1_000) if each["message"] == message]
    _say(rows, f"sent again to {count}: {', '.join(row['state'] for row in rows)}", as_json)


def _deliver(state_dir: Path, database: Database) -> None:
    from airserve.metering.webhooks.delivery import deliver_due

    allow_private = settings_of(state_dir).webhooks_allow_private
    deliver_due(database, pepper_of(state_dir, database), allow_private=allow_private, clock_ns=time.time_ns)


def _deliveries(database: Database, tenant_id: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
    from airserve.metering.webhooks.endpoints import list_deliveries

    return [
        {
            "message": each.message_id,
            "type": each.type,
            "endpoint": each.endpoint_id,
            "state": each.state,
            "attempts": each.attempts,
            "last": utc(each.last_ns),
            "next": utc(each.next_ns) if each.state == "pending" else None,
            "status": each.status,
            "reason": each.reason,
        }
        for each in list_deliveries(database, tenant_id=tenant_id, state=state, limit=limit)
    ]


def _names(database: Database) -> dict[str, str]:
    from airserve.accounts.tenants import list_tenants

    return {each.id: each.name for each in list_tenants(database)}


def _tenant_id(database: Database, tenant: str | None) -> str | None:
    from airserve.accounts.tenant import find_tenant

    if tenant is None:
        return None
    with database.read() as connection:
        return find_tenant(connection, tenant).id


def _say(value: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        console.print(text, highlight=False, soft_wrap=True)
