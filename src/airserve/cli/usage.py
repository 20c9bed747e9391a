"""`airserve usage`: who used what, and what it costs."""

from __future__ import annotations

import csv
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, fail, print_rows
from airserve.cli.state import StateDir, open_database

if TYPE_CHECKING:
    from airserve.metering.usage import UsageRow


COLUMNS = (
    "tenant_id", "tenant", "model", "day", "calls", "ok", "refused", "late", "cancelled", "failed",
    "partial", "rows", "bytes_in", "bytes_out", "compute_ns", "compute_seconds", "input_tokens", "cached_tokens",
    "output_tokens", "amount_nano", "amount", "currency",
)  # fmt: skip
"""What `--json` and `--csv` give: attributes of `UsageRow`."""


def register(app: typer.Typer) -> None:
    """Add `airserve usage`."""
    app.command("usage")(usage_command)


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no day; write it like 2026-01-31") from error


def usage_command(
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
    if as_json and as_csv:
        fail("use either --json or --csv, not both", 2)
    rows = _folded_usage(state_dir, tenant, model, since, until)
    if as_csv:
        _print_csv([_columns(row) for row in rows])
    elif as_json:
        print_rows([_columns(row) for row in rows], as_json=True, title="", empty="")
    else:
        _print_table(rows)


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
