"""PostgreSQL: one database that several server processes, on one machine or many, share.

Transactions are READ COMMITTED, made serial by an advisory lock that ends with the transaction. A connection that was
lost is made anew; where that does not succeed within seconds, or work was lost half-way, `OverloadedError` says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import sqlalchemy as sa

from airserve.core.errors import AirserveError, InvalidInputError, OverloadedError
from airserve.storage.migrate import migrate, needs_migration

_WRITERS = "airserve writers"
_MIGRATION = "airserve migration"
_PATIENCE_S = 3.0
_LAST_WAIT_S = 0.5
_RETRY_AFTER_S = 1.0
# libpq's own words. A server that vanishes without a word is noticed within half a minute, not after two hours.
_CONNECT = {
    "application_name": "airserve",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# A process that hangs within a transaction may not keep all others from writing for ever.
_SESSION = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'"
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_LOCK_AND_ID = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)), pg_current_xact_id()::text")
_STATUS = sa.text("SELECT pg_xact_status(CAST(:id AS xid8))")


class PostgresStore:
    """One database of a PostgreSQL server (13 or newer)."""

    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        parsed = postgres_url(url)
        self._name = parsed.set(drivername="postgresql").render_as_string(hide_password=True)
        self._away = False
        self._engine = sa.create_engine(
            parsed, isolation_level="AUTOCOMMIT", pool_pre_ping=True, pool_timeout=10, connect_args=_CONNECT
        )
        sa.event.listen(self._engine, "connect", _configure)

    def bring_up_to_date(self) -> None:
        """Migrate to the newest schema where it is older."""
        try:
            with self._connection() as connection:
                outdated = needs_migration(connection)
            if outdated:
                with self.change_schema() as connection:
                    migrate(connection)
        except sa.exc.DatabaseError as error:
            raise AirserveError(f"the database {self._name} cannot be used: {_first_line(error)}") from error

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database from its first query on."""
        with self._connection() as connection:
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def write(self, lock: str | None = None) -> Iterator[sa.Connection]:
        """A transaction, alone among those with the same `lock`; None is the lock of all who name none."""
        with self._connection() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                _, transaction = connection.execute(_LOCK_AND_ID, {"name": lock or _WRITERS}).one()
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            try:
                connection.exec_driver_sql("COMMIT")
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                lost = error
            else:
                return
        self._require_committed(transaction, lost)

    @contextmanager
    def change_schema(self) -> Iterator[sa.Connection]:
        """A transaction for migrations, one at a time; all or nothing."""
        with self._connection() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                connection.execute(_LOCK, {"name": _MIGRATION})
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        """A connection that has just answered, and its errors as refusals."""
        connection = self._connect()
        try:
            yield connection
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise OverloadedError(
                    f"the connection to the database was lost ({_first_line(error)}); nothing of this was written, "
                    "try again",
                    retry_after=_RETRY_AFTER_S,
                ) from error
            if isinstance(error, sa.exc.OperationalError):
                raise OverloadedError(
                    f"the database could not do this now ({_first_line(error)}); nothing of it was written, try again",
                    retry_after=_RETRY_AFTER_S,
                ) from error
            raise
        finally:
            # A connection that is broken cannot even be given back in order; the pool makes a new one.
            with suppress(sa.exc.DBAPIError):
                connection.close()

    def _connect(self) -> sa.Connection:
        # Who finds it away waits for it; whoever asks after that is told at once, until it answers.
        give_up, wait = time.monotonic() + (0 if self._away else _PATIENCE_S), 0.05
        while True:
            try:
                connection = self._engine.connect()
                self._away = False
                return connection
            except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
                if time.monotonic() + wait > give_up:
                    self._away = True
                    self._refuse(error)
            time.sleep(wait)
            wait = min(2 * wait, _LAST_WAIT_S)

    def _refuse(self, error: sa.exc.SQLAlchemyError) -> NoReturn:
        raise OverloadedError(
            f"the database {self._name} does not answer: {_first_line(error)}. Start it, or correct database_url",
            retry_after=_RETRY_AFTER_S,
        ) from error

    def _require_committed(self, transaction: str, lost: sa.exc.DBAPIError) -> None:
        """The connection broke during COMMIT: ask the server what became of the transaction."""
        for _ in range(20):
            try:
                with self._connection() as connection:
                    status = connection.execute(_STATUS, {"id": transaction}).scalar()
            except OverloadedError:
                status = "unknown"
            if status == "committed":
                return
            if status == "aborted":
                raise OverloadedError(
                    "the connection to the database was lost; nothing of this was written, try again",
                    retry_after=_RETRY_AFTER_S,
                ) from lost
            time.sleep(0.05)
        raise OverloadedError(
            "the database went away at the moment of writing; look whether this was written before you try again",
            retry_after=_RETRY_AFTER_S,
        ) from lost


def postgres_url(url: str) -> sa.URL:
    """`postgresql://…` as SQLAlchemy takes it, for the driver that we use. Raises `InvalidInputError`."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidInputError("database_url is no URL; write it like postgresql://user:password@host/name") from None
    if parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise InvalidInputError(
            f"database_url begins with '{parsed.drivername}://'; it must be postgresql://user:password@host/name, or "
            "be left out for SQLite in the state folder"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise InvalidInputError("PostgreSQL needs its driver: pip install 'airserve[postgres]'") from None
    return parsed.set(drivername="postgresql+psycopg")


def _configure(connection: Any, _: object) -> None:
    autocommit, connection.autocommit = connection.autocommit, True
    connection.execute(_SESSION)
    connection.autocommit = autocommit


def _roll_back(connection: sa.Connection) -> None:
    # The error that led here says more than that the rollback failed; a lost connection has rolled back by itself.
    with suppress(sa.exc.SQLAlchemyError):
        connection.exec_driver_sql("ROLLBACK")


def _first_line(error: sa.exc.SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
