"""`airserve audit`: is every amount what the journals say?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, settings_of

if TYPE_CHECKING:
    from airserve.metering.audit import Check


def register(app: typer.Typer) -> None:
    """Add `airserve audit`."""
    app.command("audit")(audit_command)


def audit_command(
    state_dir: StateDir,
    export: Annotated[
        Path | None, typer.Option(help="Write journals and ledger into this new folder, for others to check.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every balance and invoice from the raw journals, and say what differs.

    The journals are folded first; a running service goes on. Each line is an invariant: how many things were compared,
    and how many nano-units (1e-9 of a currency) differ. Where all is zero the exit code is 0; where anything differs,
    the events that do are printed and it is 1. What `--export` writes can be checked by anybody with
    `examples/verify_usage.py`, without this program.

    Example: `airserve audit --json`
    """
    checks, digest = _audited(state_dir, export)
    differs = sum(check.differs for check in checks)
    if as_json:
        print_json({"differs": differs, "checks": [_as_json(check) for check in checks], "export_digest": digest})
    else:
        _print(checks, differs)
        if digest:
            typer.echo(f"exported to {export}; SHA-256 of its SHA256SUMS: {digest}")
    raise typer.Exit(1 if differs else 0)


def _audited(state_dir: StateDir, export: Path | None) -> tuple[list[Check], str | None]:
    with open_database(state_dir) as database:
        from airserve.metering.audit import audit
        from airserve.metering.audit.export import export_books
        from airserve.metering.ledger import fold
        from airserve.server.installation import journal_folder

        folder = journal_folder(settings_of(state_dir))
        fold(database, folder)
        digest = None if export is None else export_books(database, folder, export)
        return audit(database, folder), digest


def _as_json(check: Check) -> dict[str, Any]:
    return {
        "number": check.number,
        "claim": check.claim,
        "compared": check.compared,
        "differs": check.differs,
        "difference_nano": check.difference_nano,
        "details": check.details,
        "note": check.note,
    }


def _print(checks: list[Check], differs: int) -> None:
    rows = [
        {
            "": check.number,
            "what must hold": check.claim,
            "compared": check.compared,
            "differ": check.differs,
            "nano-units": check.difference_nano,
        }
        for check in checks
    ]
    print_rows(rows, as_json=False, title="Audit", empty="")
    for check in checks:
        if check.note:
            typer.echo(f"{check.number}: {check.note}")
        for detail in check.details:
            typer.echo(f"{check.number} differs: {detail}")
        if check.differs > len(check.details):
            typer.echo(f"{check.number}: and {check.differs - len(check.details)} more")
    if differs:
        console.print(f"[bold red]{differs} differences[/]", highlight=False)
    else:
        console.print("[bold green]The difference is zero.[/]")
