"""`airserve budgets`: the most that may be spent, by a tenant, a project or a key."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database
from airserve.cli.tenants import NameOrId

if TYPE_CHECKING:
    from airserve.accounts.budgets import BudgetInfo


class Period(StrEnum):
    """When a budget begins anew."""

    day = "day"
    month = "month"
    total = "total"


class Mode(StrEnum):
    """What happens at its end."""

    soft = "soft"
    hard = "hard"
    strict = "strict"


budgets = typer.Typer(no_args_is_help=True, help="Budgets over tenants, projects and keys: set, list, remove.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(budgets, name="budgets")


@budgets.command("set")
def set_one(
    tenant: NameOrId,
    limit: Annotated[str, typer.Argument(help="Decimal amount in the tenant's currency.")],
    state_dir: StateDir,
    project: Annotated[str | None, typer.Option(help="Over this project alone.")] = None,
    key: Annotated[str | None, typer.Option(help="Over this key alone, by its id.")] = None,
    period: Annotated[Period, typer.Option(help="When it begins anew, in UTC.")] = Period.month,
    mode: Annotated[
        Mode, typer.Option(help="At its end: warn (soft), refuse new calls (hard), or never pass it at all (strict).")
    ] = Mode.hard,
    as_json: AsJson = False,
) -> None:
    """Bound what may be spent; a running service follows within a second.

    Example: `airserve budgets set acme 100.00` or
    `airserve budgets set acme 5 --project "line 4" --period day --mode strict`
    """
    from airserve.accounts.budgets import set_budget
    from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod
    from airserve.metering.money import nano_of

    budget = Budget(nano_of(limit), BudgetPeriod(period.value), BudgetMode(mode.value))
    with open_database(state_dir) as database:
        info = set_budget(database, tenant, budget, now_ns=time.time_ns(), project=project, key=key)
    if as_json:
        print_json(_row(info))
    else:
        _, *parts = _shown(info).values()
        console.print(f"budget {info.id}: {', '.join(parts)}", highlight=False)


@budgets.command("list")
def list_all(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Argument(help="Only this tenant's, by name or id.")] = None,
    as_json: AsJson = False,
) -> None:
    """All budgets beside those of plans. Example: `airserve budgets list acme`."""
    from airserve.accounts.budgets import list_budgets

    with open_database(state_dir) as database:
        found = list_budgets(database, tenant)
    rows = [_row(info) for info in found] if as_json else [_shown(info) for info in found]
    print_rows(rows, as_json=as_json, title="Budgets", empty="no budget yet; see airserve budgets set --help")


@budgets.command()
def remove(
    budget: Annotated[str, typer.Argument(help="The budget's id.")], state_dir: StateDir, as_json: AsJson = False
) -> None:
    """Remove a budget. Example: `airserve budgets remove bud_0123456789abcdef0123`."""
    from airserve.accounts.budgets import remove_budget

    with open_database(state_dir) as database:
        info = remove_budget(database, budget, now_ns=time.time_ns())
    if as_json:
        print_json({**_row(info), "removed": True})
    else:
        console.print(f"removed {info.id}", highlight=False)


def _shown(info: BudgetInfo) -> dict[str, Any]:
    """What fits a terminal; `--json` has the rest."""
    row = _row(info)
    return {
        "id": info.id,
        "over": f"{info.scope} {info.whose}",
        **{name: row[name] for name in ("limit", "period", "mode")},
    }


def _row(info: BudgetInfo) -> dict[str, Any]:
    from airserve.metering.money import amount_text

    return {
        "id": info.id,
        "tenant": info.tenant_id,
        "over": info.scope,
        "whose": info.scope_id,
        "name": info.whose,
        "limit": amount_text(info.budget.limit_nano),
        "period": info.budget.period.value,
        "mode": info.budget.mode.value,
    }
