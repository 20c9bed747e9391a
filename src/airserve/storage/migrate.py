"""Bring a database to another schema, by Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airserve.core.errors import AirserveError, InvalidInputError
from airserve.storage.tables.metadata import metadata

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0011"
"""The newest revision; a test holds it against the migrations."""
_MADE_AGAIN = {"change_counter", "installation"}


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database is at, without the cost of importing the migration tool; None: it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if revision is None else str(revision)


def needs_migration(connection: sa.Connection) -> bool:
    """Whether the schema is older than this program. Raises `AirserveError` where it is newer."""
    revision = current_revision(connection)
    if revision is not None and revision > HEAD:
        raise AirserveError(
            f"the database is at revision {revision}, which a newer Airserve has made; this one knows those up to "
            f"{HEAD}. Install that version again, or let it go back: airserve db migrate --to {HEAD}"
        )
    return revision != HEAD


def migrate(connection: sa.Connection, revision: str = "head") -> None:
    """Migrate forward or back to `revision`, in the transaction that `connection` has begun."""
    # Alembic costs a third of a second to import, and a database is rarely out of date.
    from alembic import command
    from alembic.script import ScriptDirectory

    settings = config(connection)
    known = [script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()]
    if revision not in (*known, "head", "base"):
        raise InvalidInputError(f"there is no revision '{revision}'; choose one of base, {', '.join(sorted(known))}")
    target = {"head": HEAD, "base": ""}.get(revision, revision)
    if target < (current_revision(connection) or ""):
        command.downgrade(settings, revision)
    else:
        command.upgrade(settings, revision)


def losses(connection: sa.Connection, revision: str) -> list[str]:
    """What going to `revision` would delete, a sentence for each table and column that is in use; tried and undone."""
    before, rows_before = _columns(connection), _rows(connection)
    connection.exec_driver_sql("SAVEPOINT trial")
    migrate(connection, revision)
    after, rows_after = _columns(connection), _rows(connection)
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT trial")
    lost = []
    for table, columns in before.items():
        gone = rows_before[table] - rows_after.get(table, 0)
        if gone > 0 and table not in _MADE_AGAIN:
            lost.append(f"{gone} rows of the table {table}")
        if table not in after:
            continue
        for column in sorted(columns - after[table]):
            query = sa.select(sa.func.count()).select_from(sa.table(table)).where(_set(table, column))
            if rows := _count(connection, query):
                lost.append(f"the column {column} of {rows} rows of the table {table}")
    return lost


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    inspector = sa.inspect(connection)
    return {table: {each["name"] for each in inspector.get_columns(table)} for table in inspector.get_table_names()}


def _rows(connection: sa.Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = sa.inspect(connection).get_table_names()
    return {name: _count(connection, sa.select(sa.func.count()).select_from(sa.table(name))) for name in names}


def _count(connection: sa.Connection, query: sa.Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())


def _set(table: str, column: str) -> sa.ColumnElement[bool]:
    """Whether a row says anything in `column`: other than nothing, and than what every row gets."""
    default = metadata.tables[table].c[column].server_default if table in metadata.tables else None
    value: sa.ColumnElement[str] = sa.column(column)
    if not isinstance(default, sa.DefaultClause):
        return value.is_not(None)
    return sa.cast(value, sa.Text) != str(default.arg)


def config(connection: sa.Connection) -> Config:
    """Alembic's configuration: the scripts beside this file, over an open connection."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.attributes["connection"] = connection
    return settings
