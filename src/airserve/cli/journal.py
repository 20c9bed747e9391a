"""`airserve journal`: what becomes of the usage journal once it is in the ledger."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from airserve.cli.output import AsJson, console, fail, print_json
from airserve.cli.state import StateDir, open_database, settings_of

_DAY_NS = 86_400 * 1_000_000_000


def register(app: typer.Typer) -> None:
    """Add `airserve journal`."""
    nouns = typer.Typer(no_args_is_help=True, help="Look after the usage journal.")
    nouns.command("prune")(prune_command)
    app.add_typer(nouns, name="journal")


def prune_command(
    state_dir: StateDir,
    keep_days: Annotated[int, typer.Option(min=0, help="Leave segments with calls of the last days as they are.")] = 7,
    delete_after_days: Annotated[
        int | None, typer.Option(min=1, help="Delete archives whose calls are all older than this many days.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compress the segments that are in the ledger into `journal/archive`, where the audit still reads them.

    The journals are folded first; a running service goes on, and its open segment is left alone. Nothing is deleted
    unless `--delete-after-days` says so: then the audit can no longer compare those calls with what was recorded.

    Example: `airserve journal prune --keep-days 30`
    """
    if delete_after_days is not None and delete_after_days < keep_days:
        fail("--delete-after-days is at least --keep-days: what is not archived is never deleted", 2)
    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        from airserve.metering.archive import prune
        from airserve.metering.ledger import fold
        from airserve.server.installation import journal_folder

        folder = journal_folder(settings_of(state_dir))
        fold(database, folder)
        done = prune(
            database,
            folder,
            archive_before_ns=now_ns - keep_days * _DAY_NS,
            delete_before_ns=0 if delete_after_days is None else now_ns - delete_after_days * _DAY_NS,
        )
    if as_json:
        print_json({"archived": done.archived, "deleted": done.deleted, "freed_bytes": done.freed_bytes})
    else:
        console.print(
            f"archived {done.archived} segments, deleted {done.deleted} archives; {done.freed_bytes:,} bytes are free"
        )
