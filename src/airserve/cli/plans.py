"""`airserve plans`: what is offered, and at what price."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, utc

if TYPE_CHECKING:
    from airserve.accounts.plans import Plan
    from airserve.metering.prices import Price

plans = typer.Typer(no_args_is_help=True, help="Plans that tenants are subscribed to: create, list, show.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(plans, name="plans")


@plans.command()
def create(
    file: Annotated[Path, typer.Argument(help="The plan, in TOML; docs/sell.md shows one.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Publish a plan, or the next version of it. A published version never changes.

    Example: `airserve plans create team.toml`
    """
    from airserve.server.plan_file import publish_plan, read_plan

    document = read_plan(file)
    with open_database(state_dir) as database:
        plan = publish_plan(database, document, now_ns=time.time_ns())
    if as_json:
        print_json(_row(plan))
        return
    console.print(
        f"published plan [bold]{plan.code}[/] version {plan.version}; give it with airserve subscribe", highlight=False
    )


@plans.command("list")
def list_all(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Every version of every plan. Example: `airserve plans list`."""
    from airserve.accounts.plans import list_plans

    with open_database(state_dir) as database:
        rows = [_row(plan) for plan in list_plans(database)]
    if not as_json:
        rows = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    print_rows(rows, as_json=as_json, title="Plans", empty="no plan yet; see airserve plans create --help")


@plans.command()
def show(
    plan: Annotated[str, typer.Argument(help="CODE, for its newest version, or CODE@VERSION.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """One plan: its terms and prices. Example: `airserve plans show team@2`."""
    from airserve.accounts.plans import find_plan
    from airserve.metering.prices import read_prices
    from airserve.storage import tables

    with open_database(state_dir) as database, database.read() as connection:
        found = find_plan(connection, plan)
        prices = read_prices(connection, tables.prices.c.plan_id == found.id)
    if as_json:
        print_json({**_row(found), "terms": found.terms, "prices": [_price(price) for price in prices]})
        return
    console.print(f"plan [bold]{found.reference}[/] {found.name}, published {utc(found.created_ns)}", highlight=False)
    for part, value in msgspec.to_builtins(found.terms).items():
        console.print(f"  {part:<22} {_text(part, value)}", highlight=False, soft_wrap=True)
    for price in prices:
        for part, value in _price(price).items():
            if part.endswith("_nano") and value:
                console.print(
                    f"  {price.model:<10} {part.removesuffix('_nano'):<28} {_text(part, value)}", highlight=False
                )
        for unit, steps in price.tiers.items():
            for step in steps:
                cost = _text("nano", step.price_nano)
                console.print(f"  {price.model:<10} {unit} from {step.from_quantity} on: {cost}", highlight=False)


def _row(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "code": plan.code,
        "version": plan.version,
        "name": plan.name,
        "currency": plan.terms.currency,
        "published": utc(plan.created_ns),
    }


def _price(price: Price) -> dict[str, Any]:
    columns: dict[str, Any] = msgspec.to_builtins(price)
    return {name: value for name, value in columns.items() if name not in ("plan_id", "currency")}


def _text(part: str, value: Any) -> str:
    """A term as people read it; amounts as decimals."""
    from airserve.metering.money import amount_text

    if isinstance(value, dict):
        return ", ".join(f"{name.removesuffix('_nano')} {_text(name, inner)}" for name, inner in value.items())
    return amount_text(value) if part.endswith("nano") else str(value)
