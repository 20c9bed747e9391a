"""`airserve log`: who did what, and the proof that nobody changed the record of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, settings_of, utc

if TYPE_CHECKING:
    from airserve.storage.audit_checkpoints import Verdict
    from airserve.storage.audit_log import LogRow

PublicKey = Annotated[
    list[str] | None,
    typer.Option("--public-key", help="Trust checkpoints by this key too (64 hex digits); may be given again."),
]

log = typer.Typer(no_args_is_help=True, help="Who did what: list, verify, export.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(log, name="log")


@log.command("list")
def list_rows(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Option(help="Only what concerns this tenant, by name or id.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Who did what, the newest last. Example: `airserve log list --tenant acme`."""
    from airserve.accounts.tenant import find_tenant
    from airserve.storage.audit_log import newest_rows

    with open_database(state_dir) as database:
        tenant_id = None
        if tenant is not None:
            with database.read() as connection:
                tenant_id = find_tenant(connection, tenant).id
        found = newest_rows(database, last, tenant_id)
    rows = [_told(row) for row in found] if as_json else [_row(row) for row in found]
    print_rows(rows, as_json=as_json, title="Who did what", empty="nothing yet")


@log.command()
def verify(
    state_dir: StateDir,
    file: Annotated[Path | None, typer.Argument(help="An exported log; the database's own without it.")] = None,
    public_key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no row was changed, removed, inserted or moved. An exported file needs no database, only the key.

    Example: `airserve log verify` or `airserve log verify log.jsonl --public-key 1f0c…`
    """
    from airserve.storage.audit_export import verify_database, verify_export

    keys = list(public_key or ())
    if file is not None:
        verdict = verify_export(file, keys or _own_key(state_dir))
    else:
        with open_database(state_dir) as database:
            verdict = verify_database(database, settings_of(state_dir).state_dir, keys)
    _say(verdict, as_json)


@log.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write, as JSON lines.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Write the whole log, signed, to a file that can be verified elsewhere.

    Example: `airserve log export log.jsonl`
    """
    from airserve.storage.audit_checkpoints import Signer, sign_newest
    from airserve.storage.audit_export import export_log

    folder = settings_of(state_dir).state_dir
    with open_database(state_dir) as database:
        sign_newest(database, folder, now_ns=time.time_ns())
        count = export_log(database, file)
    key = Signer(folder).public_key
    if as_json:
        print_json({"file": str(file), "rows": count, "public_key": key})
        return
    console.print(f"{count} rows in {file}; whoever verifies it needs the public key", highlight=False)
    console.print(key, highlight=False, soft_wrap=True)


def _own_key(state_dir: Path) -> list[str]:
    from airserve.storage.audit_checkpoints import Signer

    return [Signer(settings_of(state_dir).state_dir).public_key]


def _row(row: LogRow) -> dict[str, Any]:
    return {"row": row.seq, "time": utc(row.at_ns), "actor": row.actor, "action": row.action, "object": row.object_id}


def _told(row: LogRow) -> dict[str, Any]:
    before, after = (None if text is None else json.loads(text) for text in (row.before, row.after))
    return {**_row(row), "at_ns": row.at_ns, "tenant_id": row.tenant_id, "before": before, "after": after,
            "hash": row.hash}  # fmt: skip


def _say(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        print_json(
            {"rows": verdict.rows, "signed_rows": verdict.signed_seq, "signed": utc(verdict.signed_ns or None),
             "hash": verdict.hash}
        )  # fmt: skip
        return
    signed = (
        f"signed up to row {verdict.signed_seq}, {utc(verdict.signed_ns)} UTC" if verdict.signed_seq else "not signed"
    )
    console.print(f"whole: {verdict.rows} rows, {signed}", highlight=False)
    console.print(f"newest hash {verdict.hash}", highlight=False, soft_wrap=True)
