"""`airserve payments`: usage for a payment provider."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, settings_of, utc

if TYPE_CHECKING:
    from pathlib import Path

    from airserve.metering.payments.stripe import Stripe

Tenant = Annotated[str, typer.Argument(help="The tenant's name or id.")]

payments = typer.Typer(
    no_args_is_help=True, help="Usage for a payment provider (Stripe's API): link, unlink, list, push, refusals."
)


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(payments, name="payments")


@payments.command()
def link(
    tenant: Tenant,
    state_dir: StateDir,
    customer: Annotated[
        str | None, typer.Option(help="The provider's id, such as cus_…; a new customer is made there without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a tenant uses from now on as a customer's.

    Example: `airserve payments link acme --customer cus_123`
    """
    from airserve.accounts.tenant import find_tenant
    from airserve.metering.invoices.details import billing_details
    from airserve.metering.payments.report import link_customer
    from airserve.metering.payments.stripe import NAME

    with open_database(state_dir) as database:
        with database.read() as connection:
            found = find_tenant(connection, tenant)
            details = billing_details(connection, found.id)
        if customer is None:
            customer = _provider(state_dir).create_customer(found.id, details.legal_name or found.name, details.email)
        link_customer(database, NAME, found.id, customer, now_ns=time.time_ns())
    if as_json:
        print_json({"tenant": found.name, "customer": customer})
    else:
        console.print(f"tenant {found.name} is customer {customer}", highlight=False)


@payments.command()
def unlink(tenant: Tenant, state_dir: StateDir) -> None:
    """Report nothing more of a tenant. Example: `airserve payments unlink acme`."""
    from airserve.accounts.tenant import find_tenant
    from airserve.metering.payments.report import unlink_customer
    from airserve.metering.payments.stripe import NAME

    with open_database(state_dir) as database:
        with database.read() as connection:
            found = find_tenant(connection, tenant)
        unlink_customer(database, NAME, found.id)
    console.print(f"tenant {found.name} is no customer any more", highlight=False)


@payments.command("list")
def list_all(state_dir: StateDir, as_json: AsJson = False) -> None:
    """The tenants that are linked to customers. Example: `airserve payments list`."""
    from airserve.accounts.tenants import list_tenants
    from airserve.metering.payments.report import linked_customers
    from airserve.metering.payments.stripe import NAME

    with open_database(state_dir) as database:
        names = {each.id: each.name for each in list_tenants(database)}
        found = linked_customers(database, NAME)
    rows = [
        {"tenant": names[each], "customer": customer.id, "since": utc(customer.linked_ns)}
        for each, customer in sorted(found.items())
    ]
    print_rows(rows, as_json=as_json, title="Customers", empty="no tenant is linked; see airserve payments link --help")


@payments.command()
def push(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Report now what is new; a running service does it by itself. Example: `airserve payments push`."""
    from airserve.metering.ledger import fold
    from airserve.metering.payments.report import report_usage
    from airserve.server.installation import journal_folder

    provider = _provider(state_dir)
    with open_database(state_dir) as database:
        fold(database, journal_folder(settings_of(state_dir)))
        count = report_usage(database, provider, clock_ns=time.time_ns)
    if as_json:
        print_json({"meter_events": count})
    else:
        console.print(f"reported {count} meter events", highlight=False)


@payments.command()
def refusals(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Calls of which the provider wanted nothing, and why. Example: `airserve payments refusals`."""
    import sqlalchemy as sa

    from airserve.metering.payments.stripe import NAME
    from airserve.storage import tables

    table = tables.export_refusals
    query = sa.select(table).where(table.c.sink == NAME).order_by(table.c.at_ns, table.c.event_id)
    with open_database(state_dir) as database, database.read() as connection:
        rows: list[dict[str, Any]] = [
            {"event": each.event_id, "at": utc(each.at_ns), "reason": each.reason} for each in connection.execute(query)
        ]
    print_rows(rows, as_json=as_json, title="Refused events", empty="nothing was refused")


def _provider(state_dir: Path) -> Stripe:
    from airserve.core.errors import InvalidInputError
    from airserve.metering.payments.stripe import Stripe

    settings = settings_of(state_dir)
    if settings.payments_key is None:
        raise InvalidInputError("no payment provider is set: give its secret key in AIRSERVE_PAYMENTS_KEY")
    return Stripe(settings.payments_url, settings.payments_key.get_secret_value())
