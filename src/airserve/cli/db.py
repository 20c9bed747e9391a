"""`airserve db`: the database itself, and backups of the whole installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.state import StateDir, open_database, settings_of, utc
from airserve.core.errors import ConflictError

db = typer.Typer(no_args_is_help=True, help="The database: status, migrate, backup, restore.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(db, name="db")


@db.command()
def status(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Which database this is, its revision, and how large everything has become. Example: `airserve db status`."""
    with open_database(state_dir) as database:
        from airserve.server.database_status import database_status

        found = database_status(settings_of(state_dir), database)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name != "rows":
            shown = f"{value / 1e6:.1f} MB" if name.endswith("bytes") else value
            console.print(f"{name.removesuffix('_bytes'):<10} {shown}", highlight=False, soft_wrap=True)
    filled = ", ".join(f"{table} {rows}" for table, rows in found["rows"].items() if rows)
    console.print(f"{'rows':<10} {filled or 'none yet'}", highlight=False, soft_wrap=True)


@db.command()
def migrate(
    state_dir: StateDir,
    to: Annotated[str, typer.Option(help="The revision to go to, forward or back; the newest without it.")] = "head",
    lose_data: Annotated[bool, typer.Option("--lose-data", help="Go back even where rows or columns go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the schema to another revision: forward, or back for an older Airserve. Stop the servers first.

    What would be deleted is listed and refused, unless you say `--lose-data`. Every other command goes forward by
    itself. Example: `airserve db migrate --to 0007`
    """
    with open_database(state_dir) as database:
        from airserve.server.database_status import refuse_while_served
        from airserve.storage.migrate import current_revision, losses
        from airserve.storage.migrate import migrate as migrate_to

        refuse_while_served(settings_of(state_dir), database)
        with database.change_schema() as connection:
            lost = losses(connection, to)
            if lost and not lose_data:
                raise ConflictError(
                    f"going to {to} would delete {'; '.join(lost)}. Make a backup first (airserve db backup), then say "
                    "--lose-data"
                )
            migrate_to(connection, to)
            revision = current_revision(connection)
    if as_json:
        print_json({"revision": revision, "lost": lost})
    else:
        console.print(f"the database is at revision {revision or 'base'}", highlight=False)


@db.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, such as airserve.backup.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Write everything into one file: rows, journal, packages, pepper, certificates. The service may go on meanwhile.

    The file opens what the installation opens: keep it where only you can read it.
    Example: `airserve db backup /backups/airserve-monday.backup`
    """
    with open_database(state_dir) as database:
        from airserve.server.backup import write_backup

        manifest = write_backup(settings_of(state_dir), database, file.expanduser().resolve())
    size = file.expanduser().stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size, "revision": manifest.revision, "rows": manifest.rows})
        return
    events = manifest.rows["usage_events"]
    console.print(f"wrote {file}: {size / 1e6:.1f} MB, {len(manifest.files)} files, {events} calls", highlight=False)


@db.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that airserve db backup wrote.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Make an installation out of a backup, in a new state folder and, with PostgreSQL, a new database.

    A backup of SQLite can be restored into PostgreSQL and the other way round. Then the journal is folded, so that
    calls are there which were answered while the backup was made.
    Example: `airserve db restore airserve.backup --state-dir /srv/airserve`
    """
    settings = settings_of(state_dir)
    from airserve.server.backup import restore_backup

    manifest = restore_backup(settings, file.expanduser().resolve())
    with open_database(state_dir) as database:
        from airserve.metering.ledger import fold
        from airserve.server.installation import journal_folder

        folded = fold(database, journal_folder(settings)).inserted
    answer: dict[str, Any] = {"made": utc(manifest.created_ns), "revision": manifest.revision, "folded": folded}
    if as_json:
        print_json({**answer, "rows": manifest.rows})
        return
    console.print(
        f"restored what was there on {answer['made']} UTC, and {folded} calls that only the journal knew",
        highlight=False,
    )
    if (settings.state_dir / "settings.toml.backup").exists():
        console.print("its settings lie in settings.toml.backup: bring over what still holds", highlight=False)
