"""The connection: one SQLite file in WAL mode, one writer at a time on the whole machine.

SQLite before 3.51.3 can corrupt its WAL when two connections write or checkpoint at the same time
(https://sqlite.org/wal.html, "The WAL-Reset Bug"). So whoever writes, in whatever process, first takes an exclusive
lock on `db.lock`, and only that connection checkpoints, inside its own commit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import AirserveError, InvalidInputError, OverloadedError
from airserve.storage.migrate import HEAD, upgrade

FILE_NAME = "airserve.db"
_LOCK_NAME = "db.lock"
_BUSY_MS = 10_000


class Database:
    """The tables of one state folder. All methods may be called from any thread."""

    def __init__(self, state_dir: Path, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock_path = state_dir / _LOCK_NAME
        self._writing = threading.Lock()
        self._watch_lock = threading.Lock()
        # `data_version` tells one connection of the commits of all others, so this one never writes.
        self._watcher = sqlite3.connect(state_dir / FILE_NAME, check_same_thread=False)

    @classmethod
    def open(cls, state_dir: Path) -> Database:
        """The database of `state_dir`, made or migrated where needed; the folder is private to its owner."""
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"{state_dir} cannot be the state folder: {error.strerror}") from None
        engine = sa.create_engine(f"sqlite:///{state_dir / FILE_NAME}", isolation_level="AUTOCOMMIT")
        sa.event.listen(engine, "connect", _configure)
        try:
            if _revision(engine) != HEAD:
                with _exclusive(state_dir / _LOCK_NAME), engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    upgrade(connection)
        except sa.exc.DatabaseError as error:
            raise AirserveError(f"the database {state_dir / FILE_NAME} cannot be used: {error.orig}") from error
        return cls(state_dir, engine)

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
    def write(self) -> Iterator[sa.Connection]:
        """A transaction: committed when the block ends well, rolled back when it raises."""
        with self._writing, _exclusive(self._lock_path), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def change_counter(self) -> int:
        """A number that changes whenever anybody, in any process, has committed."""
        with self._watch_lock:
            (counter,) = self._watcher.execute("PRAGMA data_version").fetchone()
        return int(counter)

    def close(self) -> None:
        """Close every connection. The last one to close a WAL database checkpoints it, hence the lock."""
        with self._writing, _exclusive(self._lock_path):
            self._watcher.close()
            self._engine.dispose()


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _revision(engine: sa.Engine) -> str | None:
    """The revision the file is at, without the cost of importing the migration tool."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
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
