"""SQLite in the state folder: one file in WAL mode, one writer at a time on the whole machine.

SQLite before 3.51.3 can corrupt its WAL when two connections write or checkpoint at the same time
(https://sqlite.org/wal.html, "The WAL-Reset Bug"). So whoever writes, in whatever process, first takes an exclusive
lock on `db.lock`, and only that connection checkpoints, inside its own commit.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import AirserveError, OverloadedError
from airserve.storage.migrate import migrate, needs_migration

FILE_NAME = "airserve.db"
LOCK_NAME = "db.lock"
_BUSY_MS = 10_000


class SqliteStore:
    """The database file of one state folder."""

    dialect = "sqlite"

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._lock_path = state_dir / LOCK_NAME
        self._writing = threading.Lock()
        self._engine = sa.create_engine(f"sqlite:///{self._path}", isolation_level="AUTOCOMMIT")
        sa.event.listen(self._engine, "connect", _configure)

    def bring_up_to_date(self) -> None:
        """Migrate to the newest schema where it is older."""
        try:
            with self._engine.connect() as connection:
                outdated = needs_migration(connection)
            if outdated:
                with self.change_schema() as connection:
                    migrate(connection)
        except sa.exc.DatabaseError as error:
            raise AirserveError(f"the database {self._path} cannot be used: {error.orig}") from error

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database from its first query on."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def write(self, lock: str | None = None) -> Iterator[sa.Connection]:
        """A transaction; there is one writer at a time, whatever `lock` says."""
        with self._writing, exclusive(self._lock_path), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def change_schema(self) -> Iterator[sa.Connection]:
        """A transaction for migrations, one at a time; all or nothing.

        Foreign keys are looked at when all is done: a table that is made anew would take along what refers to it
        (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
        """
        with self._writing, exclusive(self._lock_path), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise AirserveError(f"the new schema would break references of the table '{broken[0]}'")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            else:
                connection.exec_driver_sql("COMMIT")
            finally:
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        """Close every connection. The last one to close a WAL database checkpoints it, hence the lock."""
        with self._writing, exclusive(self._lock_path):
            self._engine.dispose()


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the machine-wide write lock; a process that dies lets go of it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OverloadedError(f"the state folder cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
