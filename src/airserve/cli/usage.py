"""`airserve usage`: who used what, and what it costs."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, fail, print_rows
from airserve.cli.state import StateDir, open_database, settings_of

if TYPE_CHECKING:
    from airserve.metering.usage import UsageRow
    from airserve.storage import Database


class ExportFormat(StrEnum):
    """What single calls are written as."""

    cloudevents = "cloudevents"


COLUMNS = (
    "tenant_id", "tenant", "model", "day", "calls", "ok", "refused", "late", "cancelled", "failed",
    "partial", "rows", "bytes_in", "bytes_out", "compute_ns", "compute_seconds", "input_tokens", "cached_tokens",
    "output_tokens", "amount_nano", "amount", "currency",
)  # fmt: skip
"""What `--json` and `--csv` give: attributes of `UsageRow`."""


def register(app: typer.Typer) -> None:
    """Add `airserve usage`, which is a command, with a command below it."""
    usage = typer.Typer(invoke_without_command=True)
    usage.callback()(usage_command)
    usage.command("export")(export_command)
    app.add_typer(usage, name="usage")


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no day; write it like 2026-01-31") from error


def usage_command(
    context: typer.Context,
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant, by id or name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    since: Annotated[
        dt.date | None, typer.Option(parser=_day, metavar="DAY", help="From this day on (UTC, like 2026-01-01).")
    ] = None,
    until: Annotated[
        dt.date | None, typer.Option(parser=_day, metavar="DAY", help="Up to this day, which still counts.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values instead of a table.")] = False,
) -> None:
    """Show the calls and amounts per tenant, model and day, up to this moment.

    The journals of all nodes are brought into the ledger first; a running server need not stop. Only answered calls
    (`ok`) cost, and of texts that were stopped early (`partial`) the tokens; `rows`, bytes, compute and tokens are
    theirs. Days are in UTC, by the time of admission.

    Example: `airserve usage --tenant demo --since 2026-01-01 --until 2026-01-31`
    """
    if context.invoked_subcommand is not None:
        return
    if as_json and as_csv:
        fail("use either --json or --csv, not both", 2)
    rows = _folded_usage(state_dir, tenant, model, since, until)
    if as_csv:
        _print_csv([_columns(row) for row in rows])
    elif as_json:
        print_rows([_columns(row) for row in rows], as_json=True, title="", empty="")
    else:
        _print_table(rows)


def export_command(
    state_dir: StateDir,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="CloudEvents 1.0 as JSON.")
    ] = ExportFormat.cloudevents,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant, by id or name.")] = None,
    since: Annotated[
        dt.date | None, typer.Option(parser=_day, metavar="DAY", help="From this day on (UTC, like 2026-01-01).")
    ] = None,
    until: Annotated[
        dt.date | None, typer.Option(parser=_day, metavar="DAY", help="Up to this day, which still counts.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; standard output without it.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="POST what this URL was not told of yet, in batches.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", envvar="AIRSERVE_EXPORT_HEADER", help='For --to, like "Authorization: Bearer …".'),
    ] = None,
) -> None:
    """Every call as an event, a line of JSON each, or to a URL that takes CloudEvents in batches.

    An event's id is that of the call in the ledger: who receives it twice counts it once.

    Example: `airserve usage export --since 2026-01-01 --output usage.jsonl`, or
    `airserve usage export --to https://openmeter.example/api/v1/events`
    """
    if to is not None and (tenant or since or until or output):
        fail("--to sends everything that is new; leave --tenant, --since, --until and --output away", 2)
    with open_database(state_dir) as database:
        from airserve.metering.ledger import fold
        from airserve.server.installation import journal_folder

        settings = settings_of(state_dir)
        fold(database, journal_folder(settings))
        source = f"urn:airserve:{settings.server_name}"
        if to is None:
            _write_events(database, source, tenant, since, until, output)
            return
        from airserve.metering.cloudevents import send_new

        count = send_new(database, to, source, _headers(header or []), allow_private=settings.webhooks_allow_private)
    console.print(f"sent {count} events", highlight=False)


def _write_events(
    database: Database,
    source: str,
    tenant: str | None,
    since: dt.date | None,
    until: dt.date | None,
    output: Path | None,
) -> None:
    from airserve.metering.cloudevents import cloud_events
    from airserve.metering.usage import DAY_NS, start_ns, tenant_id_of

    with database.read() as connection:
        tenant_id = None if tenant is None else tenant_id_of(connection, tenant)
    lines = cloud_events(
        database,
        source,
        tenant_id=tenant_id,
        start_ns=start_ns(since) if since else 0,
        end_ns=start_ns(until) + DAY_NS if until else None,
    )
    with output.open("w") if output else contextlib.nullcontext(sys.stdout) as file:
        file.writelines(f"{line}\n" for line in lines)


def _headers(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition(":") for text in texts]
    if any(not colon or not name.strip() for name, colon, _ in pairs):
        fail('a header is written "Name: value"', 2)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _folded_usage(
    state_dir: Path, tenant: str | None, model: str | None, since: dt.date | None, until: dt.date | None
) -> list[UsageRow]:
    with open_database(state_dir) as database:
        from airserve.metering.ledger import fold
        from airserve.metering.usage import usage

        fold(database, state_dir.expanduser() / "journal")
        return usage(database, tenant=tenant, model=model, since=since, until=until)


def _columns(row: UsageRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(rows: Sequence[UsageRow]) -> None:
    from airserve.metering.money import amount_text
    from airserve.metering.usage import totals

    shown = [_shown(row) for row in rows]
    for currency, nano in totals(rows).items():
        of_currency = [row for row in rows if row.currency == currency]
        shown.append(
            {
                "tenant": "total",
                "model": "",
                "day": "",
                "calls": sum(row.calls for row in of_currency),
                "ok": sum(row.ok for row in of_currency),
                "compute s": _seconds(sum(row.compute_ns for row in of_currency)),
                "tokens": sum(_tokens(row) for row in of_currency),
                "amount": f"{amount_text(nano)} {currency}",
            }
        )
    print_rows(shown, as_json=False, title="Usage", empty="No usage yet. Make a call, and look again.")


def _shown(row: UsageRow) -> dict[str, Any]:
    """What fits a terminal of 80 columns; `--json` and `--csv` have the rest."""
    return {
        "tenant": row.tenant or row.tenant_id,
        "model": row.model,
        "day": row.day,
        "calls": row.calls,
        "ok": row.ok,
        "compute s": _seconds(row.compute_ns),
        "tokens": _tokens(row),
        "amount": f"{row.amount} {row.currency}",
    }


def _tokens(row: UsageRow) -> int:
    return row.input_tokens + row.output_tokens


def _seconds(compute_ns: int) -> str:
    return f"{compute_ns / 1e9:.3f}"
