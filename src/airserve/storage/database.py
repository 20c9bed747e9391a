"""The connection: transactions on SQLite in the state folder, or on a PostgreSQL server that several nodes share.

Whoever writes is alone, on both: on SQLite by a file lock (`storage/sqlite.py`), on PostgreSQL by an advisory lock
(`storage/postgresql.py`). So a transaction may read, decide and write without thinking of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from airserve.core.errors import InvalidInputError
from airserve.storage.sqlite import FILE_NAME, SqliteStore
from airserve.storage.tables.installation import change_counter

__all__ = ["FILE_NAME", "Database", "Store"]

_COUNTER = sa.select(change_counter.c.value)
_BUMP = sa.update(change_counter).values(value=change_counter.c.value + 1)


class Store(Protocol):
    """What a kind of database must be able to do."""

    dialect: str
    """`sqlite` or `postgresql`."""

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A connection that sees one state of the database from its first query on."""

    def write(self, lock: str | None) -> AbstractContextManager[sa.Connection]:
        """A transaction, alone among those with the same `lock`."""

    def change_schema(self) -> AbstractContextManager[sa.Connection]:
        """A transaction for migrations, one at a time; all or nothing."""

    def bring_up_to_date(self) -> None:
        """Migrate to the newest schema where it is older. Raises `AirserveError` where it cannot be used."""

    def close(self) -> None:
        """Close every connection."""


class Database:
    """The tables of one installation. All methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.dialect = store.dialect
        """`sqlite` or `postgresql`, for the few statements that are spelled differently."""

    @classmethod
    def open(cls, state_dir: Path, url: str | None = None) -> Database:
        """The database at `url` (`postgresql://user@host/name`), or SQLite in `state_dir`; migrated where needed.

        The folder, which keeps journal and secrets in both cases, is private to its owner. Raises `InvalidInputError`
        for a folder or URL that cannot be one, `OverloadedError` where the server does not answer, and `AirserveError`
        for a database that cannot be used.
        """
        store = _store(state_dir, url)
        store.bring_up_to_date()
        return cls(store)

    @classmethod
    def open_as_it_is(cls, state_dir: Path, url: str | None = None) -> Database:
        """The same without migrating: for who fills an empty database."""
        return cls(_store(state_dir, url))

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A connection that sees one state of the database from its first query on."""
        return self._store.read()

    @contextmanager
    def write(self, *, announce: bool = True, lock: str | None = None) -> Iterator[sa.Connection]:
        """A transaction: committed when the block ends well, rolled back when it raises; alone among all writers.

        `announce` makes every server take new snapshots of keys, prices and models; False is for what changes none of
        them. On PostgreSQL, a writer that names a `lock` is alone only among those that name the same one: for frequent
        work that need not wait for others, such as a fold (one node, one lock).

        Raises `OverloadedError` where the database went away, and says whether anything was written.
        """
        with self._store.write(lock) as connection:
            if announce:
                connection.execute(_BUMP)
            yield connection

    def change_counter(self) -> int:
        """A number that grows with each announced transaction, from any process on any machine."""
        with self._store.read() as connection:
            return int(connection.execute(_COUNTER).scalar_one())

    def change_schema(self) -> AbstractContextManager[sa.Connection]:
        """A transaction for migrations, one at a time; all or nothing."""
        return self._store.change_schema()

    def close(self) -> None:
        """Close every connection."""
        self._store.close()


def _store(state_dir: Path, url: str | None) -> Store:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{state_dir} cannot be the state folder: {error.strerror}") from None
    if url is None:
        return SqliteStore(state_dir)
    from airserve.storage.postgresql import PostgresStore

    return PostgresStore(url)
