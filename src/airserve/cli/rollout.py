"""`airserve rollout`: bring a new version to everybody, step by step, and back where its guards fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.state import StateDir, open_database, utc
from airserve.cli.times import length_ns
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Group

    from airserve.models.rollout.rollouts import Decision, Rollout
    from airserve.serving.rollout.status import Status
    from airserve.storage import Database

Model = Annotated[str, typer.Argument(help="The model's name.")]

_LOOK_EVERY_S = 0.5


class _StartsByDefault(TyperGroup):
    """`airserve rollout MODEL VERSION` is `airserve rollout start MODEL VERSION`."""

    def resolve_command(self, ctx, args):  # type: ignore[no-untyped-def]  # click's own types are private here
        if args and args[0] not in self.commands:
            args = ["start", *args]
        return super().resolve_command(ctx, args)


rollout = typer.Typer(
    cls=_StartsByDefault,
    no_args_is_help=True,
    help="Bring a new version to everybody, step by step: MODEL VERSION, or status, next, stop, history.",
)


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(rollout, name="rollout")


@rollout.command()
def start(
    model: Model,
    version: Annotated[int, typer.Argument(help="The new version; publish it with --no-alias first.")],
    state_dir: StateDir,
    canary: Annotated[str | None, typer.Option(help="The first step, such as 5%.")] = None,
    steps: Annotated[str, typer.Option(help="Percentages of the tenants, rising to 100.")] = "5,25,50,100",
    every: Annotated[str, typer.Option(help="Each step holds so long at least: 90s, 10m, 1h.")] = "10m",
    guard: Annotated[
        str | None, typer.Option(help="What must hold. [default: error<0.5%, p99<1.5x, agreement>98%]")
    ] = None,
    shadow: Annotated[
        str | None, typer.Option(help="Calls compared before anybody is answered, or 'no'. [default: 100]")
    ] = None,
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "prod",
    as_json: AsJson = False,
) -> None:
    """Begin a rollout; `airserve rollout MODEL VERSION` is the same.

    First the new version answers copies of calls, which are compared. Then it answers a growing part of the tenants,
    always the same ones. A guard that fails takes everybody back at once. The last step moves the alias.
    Example: `airserve rollout digits 2 --canary 5% --every 10m --guard "error<0.5%, p99<1.2x, agreement>98%"`
    """
    from airserve.models.rollout.guards import parse_guards
    from airserve.models.rollout.rollouts import Plan, start_rollout

    plan = Plan(
        steps=_steps(canary, steps),
        every_ns=length_ns(every),
        guards=None if guard is None else parse_guards(guard),
        shadow=_shadow(shadow),
    )
    with open_database(state_dir) as database:
        begun = start_rollout(database, model, version, plan, alias=alias)
    _say(begun, as_json)


@rollout.command()
def status(
    model: Model,
    state_dir: StateDir,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """How the last rollout of a model stands. Exit code 1 where it was rolled back.

    Example: `airserve rollout status digits --watch`
    """
    with open_database(state_dir) as database:
        found = _watched(database, model, live=not as_json) if watch else _status(database, model)
    if as_json:
        print_json(found)
    elif not (watch and console.is_terminal):
        console.print(_table(found))
    if found.rollout.state == "rolled_back":
        raise typer.Exit(1)


@rollout.command()
def stop(model: Model, state_dir: StateDir, as_json: AsJson = False) -> None:
    """End a rollout: the old version answers everybody again. Example: `airserve rollout stop digits`."""
    from airserve.models.rollout.rollouts import stop_rollout

    with open_database(state_dir) as database:
        _say(stop_rollout(database, model), as_json)


@rollout.command("next")
def next_(model: Model, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Take the next step now, whatever the guards have seen. Example: `airserve rollout next digits`."""
    from airserve.models.rollout.rollouts import next_step

    with open_database(state_dir) as database:
        _say(next_step(database, model), as_json)


@rollout.command()
def history(model: Model, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Every rollout of a model and every decision, with its figures. Example: `airserve rollout history digits`."""
    from airserve.models.rollout.rollouts import decisions, rollouts

    with open_database(state_dir) as database:
        found = [(each, decisions(database, each.id)) for each in rollouts(database, model)]
    if as_json:
        print_json([{"rollout": each, "decisions": made} for each, made in found])
        return
    if not found:
        console.print(f"'{model}' was never rolled out", highlight=False)
    for each, made in reversed(found):
        console.print(f"version {each.from_version} → {each.to_version}: {each.state}", style="bold", highlight=False)
        for decision in made:
            _say_decision(decision)


def _steps(canary: str | None, steps: str) -> tuple[float, ...]:
    """The percentages; `canary` comes first, and the steps up to it are left out."""
    given = [_percent(each) for each in steps.split(",")]
    if canary is None:
        return tuple(given)
    first = _percent(canary)
    return (first, *(each for each in given if each > first))


def _percent(text: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise InvalidInputError(f"'{text.strip()[:20]}' is no percentage; write it like 5 or 5%")
    return value


def _shadow(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "no":
        return 0
    if not text.isdecimal() or len(text) > 9:
        raise InvalidInputError(f"--shadow is a number of calls, or 'no'; not '{text[:20]}'")
    return int(text)


def _status(database: Database, model: str) -> Status:
    from airserve.models.rollout.rollouts import newest_rollout
    from airserve.serving.rollout.status import status_of

    return status_of(database, newest_rollout(database, model), time.time_ns())


def _watched(database: Database, model: str, *, live: bool) -> Status:
    """How it stands once it has ended; `live` shows it until then, on a terminal."""
    from rich.live import Live

    found = _status(database, model)
    with (
        Live(_table(found), console=console, auto_refresh=False)
        if live and console.is_terminal
        else nullcontext() as at
    ):
        while found.rollout.running:
            time.sleep(_LOOK_EVERY_S)
            found = _status(database, model)
            if at is not None:
                at.update(_table(found), refresh=True)
    return found


def _table(found: Status) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    each = found.rollout
    table = Table(title=_headline(found), title_justify="left")
    for column in ("guard", "state", "bad", "of", "surely between", "allowed"):
        table.add_column(column)
    for row in found.guards:
        between = f"{100 * row.low:.3g} % and {100 * row.high:.3g} %"
        table.add_row(row.guard, row.state, str(row.bad), str(row.count), between, f"{100 * row.limit:.3g} %")
    lines = [
        f"calls of this stage: {found.calls} by version {each.to_version}, {found.old_calls} by {each.from_version}"
    ]
    lines += [f"because {each.reason}"] if each.reason else []
    lines += [f"waits: {why}" for why in found.waiting]
    return Group(table, *(Text(line) for line in lines))


def _headline(found: Status) -> str:
    each = found.rollout
    where = {
        "shadow": "in the shadow: nobody is answered by it",
        "canary": f"answers {found.percent:g} % of the tenants (step {each.stage} of {len(each.steps)})",
        "complete": "answers everybody",
        "rolled_back": "was rolled back",
        "stopped": "was stopped",
    }
    return f"'{each.alias}' of {each.model}: version {each.to_version} {where[each.state]}"


def _say_decision(decision: Decision) -> None:
    why = f": {decision.reason}" if decision.reason else ""
    head = f"  {utc(decision.at_ns)}  {decision.action:<8} {decision.percent:>5g} %  by {decision.actor}{why}"
    console.print(head, highlight=False, soft_wrap=True)
    rows: Sequence[Any] = msgspec.json.decode(decision.figures) or ()
    for row in rows:
        console.print(f"      {row['guard']}: {row['bad']} of {row['count']} bad, {row['state']}", highlight=False)


def _say(each: Rollout, as_json: bool) -> None:
    if as_json:
        print_json({**msgspec.to_builtins(each), "percent": each.percent})
        return
    said = {
        "shadow": f"version {each.to_version} answers copies of {each.shadow} calls first",
        "canary": f"version {each.to_version} answers {each.percent:g} % of the tenants",
        "complete": f"'{each.alias}' points at version {each.to_version}",
        "stopped": f"version {each.from_version} answers everybody again",
    }
    console.print(f"rollout of {each.model}: {said[each.state]}; see airserve rollout status {each.model}",
                  highlight=False, soft_wrap=True)  # fmt: skip
