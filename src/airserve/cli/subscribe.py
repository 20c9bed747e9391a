"""`airserve subscribe`: which plan holds for a tenant."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_rows
from airserve.cli.state import StateDir, open_database, utc
from airserve.cli.tenants import NameOrId
from airserve.cli.times import start_ns
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from airserve.accounts.subscriptions import Subscription


def register(app: typer.Typer) -> None:
    """Add `airserve subscribe`."""
    app.command("subscribe")(subscribe_command)


def subscribe_command(
    tenant: NameOrId,
    state_dir: StateDir,
    plan: Annotated[str | None, typer.Argument(help="The plan: CODE, or CODE@VERSION.")] = None,
    day: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="From this day on (UTC, like 2026-02-01); now without.")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="No plan from then on: list prices and no limits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a tenant a plan; without one, show which plan holds from when on.

    The tenant keeps this version until it is changed here, and changes that were planned for later are dropped.

    Example: `airserve subscribe acme team` or `airserve subscribe acme team@2 --from 2026-02-01`
    """
    from airserve.accounts.subscriptions import list_subscriptions, subscribe

    if end and plan is not None:
        raise InvalidInputError("say a plan or --end, not both")
    if day is not None and plan is None and not end:
        raise InvalidInputError("say which plan holds from that day on, or --end")
    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        if plan is not None or end:
            subscribe(database, tenant, plan, now_ns=now_ns, starts_ns=start_ns(day, now_ns))
        rows = [_row(each, now_ns) for each in _current(list_subscriptions(database, tenant), now_ns)]
    print_rows(rows, as_json=as_json, title=f"Plans of {tenant}", empty="no plan: list prices and no limits")
    if not as_json and plan is not None and rows[0]["plan"] == plan.partition("@")[0]:
        console.print("a running service follows within a second", highlight=False)


def _current(subscriptions: list[Subscription], now_ns: int) -> list[Subscription]:
    """What holds now and later."""
    past = [each for each in subscriptions if each.starts_ns <= now_ns]
    return subscriptions[max(len(past) - 1, 0) :]


def _row(subscription: Subscription, now_ns: int) -> dict[str, Any]:
    plan = subscription.plan
    return {
        "plan": plan.code if plan else "none",
        "version": plan.version if plan else None,
        "name": plan.name if plan else None,
        "from": utc(subscription.starts_ns),
        "holds": "now" if subscription.starts_ns <= now_ns else "later",
    }
