"""All rows of a database as files, and back: one file of JSON lines for each table, the same for SQLite and PostgreSQL.

The first line of a file names the columns, each other line is a row; bytes are in base64. So a dump of one kind of
database can be loaded into the other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import msgspec
import sqlalchemy as sa

from airserve.core.errors import ConflictError, InvalidInputError
from airserve.storage import tables
from airserve.storage.migrate import current_revision, migrate

_BATCH = 2_000
_VERSION_TABLE = "alembic_version"


def dump_tables(connection: sa.Connection, folder: Path) -> dict[str, int]:
    """Write every table as `connection` sees it to `folder/<table>.jsonl`; the number of rows of each."""
    counts = {}
    for table in tables.metadata.sorted_tables:
        query = sa.select(table).order_by(*table.primary_key.columns)
        rows = connection.execute(query, execution_options={"yield_per": _BATCH})
        with (folder / f"{table.name}.jsonl").open("wb") as file:
            file.write(msgspec.json.encode([str(column.name) for column in table.columns]) + b"\n")
            counts[table.name] = 0
            for row in rows:
                file.write(msgspec.json.encode(tuple(row)) + b"\n")
                counts[table.name] += 1
    return counts


def load_tables(connection: sa.Connection, folder: Path, revision: str, counts: dict[str, int]) -> None:
    """Fill an empty database with a dump that was made at `revision`, then bring it to the newest one.

    In the transaction of `connection`, which comes from `Database.change_schema` or its like. Raises `ConflictError`
    where the database is not empty, and `InvalidInputError` where the dump does not hold what it should.
    """
    if current_revision(connection) is not None:
        raise ConflictError("the database is not empty; restore into a new one")
    migrate(connection, revision)
    metadata = sa.MetaData()
    metadata.reflect(connection)
    expected = {name for name in metadata.tables if name != _VERSION_TABLE}
    if expected != set(counts):
        raise InvalidInputError(f"the backup lacks or adds tables: {', '.join(sorted(expected ^ set(counts)))}")
    with _unguarded(connection, metadata):
        # The migrations themselves enter first rows; the dump has them as they were.
        for table in reversed(metadata.sorted_tables):
            if table.name != _VERSION_TABLE:
                connection.execute(sa.delete(table))
        for name, count in counts.items():
            loaded = _load(connection, metadata.tables[name], folder / f"{name}.jsonl")
            if loaded != count:
                raise InvalidInputError(f"the backup holds {loaded} rows of the table {name}, not {count}")
    if connection.dialect.name == "postgresql":
        _continue_numbers(connection, metadata)
    migrate(connection)


def _load(connection: sa.Connection, table: sa.Table, path: Path) -> int:
    loaded = 0
    with path.open("rb") as file:
        columns: list[str] = msgspec.json.decode(file.readline(), type=list[str])
        binary = {name for name in columns if isinstance(table.c[name].type, sa.LargeBinary)}
        while lines := list(islice(file, _BATCH)):
            rows = [dict(zip(columns, msgspec.json.decode(line), strict=True)) for line in lines]
            for row in rows:
                row.update({name: base64.b64decode(row[name]) for name in binary if row[name] is not None})
            connection.execute(sa.insert(table), rows)
            loaded += len(rows)
    return loaded


@contextmanager
def _unguarded(connection: sa.Connection, metadata: sa.MetaData) -> Iterator[None]:
    """Without triggers and foreign keys, which speak of new rows, not of rows that were once accepted; then with them.

    SQLite looks at foreign keys when the transaction of `change_schema` ends, and cannot switch off a trigger.
    """
    if connection.dialect.name == "sqlite":
        triggers = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        for name, _ in triggers:
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        yield
        for _, text in triggers:
            connection.exec_driver_sql(text)
        return
    foreign_keys = [key for table in metadata.tables.values() for key in table.foreign_key_constraints]
    for table in metadata.tables:
        connection.exec_driver_sql(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
    for key in foreign_keys:
        connection.execute(sa.schema.DropConstraint(key))
    yield
    for key in foreign_keys:
        connection.execute(sa.schema.AddConstraint(key))
    for table in metadata.tables:
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')


def _continue_numbers(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """The next row that numbers itself goes on behind those that were loaded."""
    for table in metadata.tables.values():
        for column in table.columns:
            names = {"table": f'"{table.name}"', "column": column.name}
            sequence = connection.scalar(sa.text("SELECT pg_get_serial_sequence(:table, :column)"), names)
            newest = connection.scalar(sa.select(sa.func.max(column))) if sequence else None
            if newest is not None:
                connection.execute(sa.select(sa.func.setval(sequence, newest)))
