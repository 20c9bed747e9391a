"""Whether the database is sound, and set up so that money can rely on it."""

from __future__ import annotations

import time

import sqlalchemy as sa

from airserve.core.errors import AirserveError
from airserve.storage import Database

_FIXED_SQLITE = (3, 51, 3)
_LEAST_POSTGRES = 130_000
_MAX_CLOCK_DIFFERENCE_S = 1.0
_QUESTION = sa.text(
    "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number, "
    "current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync, "
    "current_setting('synchronous_commit') AS synchronous_commit, extract(epoch FROM clock_timestamp()) AS now"
)


def database_health(database: Database) -> str:
    """A sentence about a sound database. Raises `AirserveError` that says what is wrong and what to do."""
    return _sqlite(database) if database.dialect == "sqlite" else _postgresql(database)


def _sqlite(database: Database) -> str:
    with database.read() as connection:
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
        try:
            result = str(connection.exec_driver_sql("PRAGMA quick_check").scalar_one())
        except sa.exc.DatabaseError as error:
            result = str(error.orig)
    if result != "ok":
        raise AirserveError(f"the database is damaged: {result}; restore it from a backup, then fold the journal again")
    if tuple(map(int, version.split("."))) < _FIXED_SQLITE:
        return f"intact, SQLite {version} (older than 3.51.3: write to the file through airserve alone)"
    return f"intact, SQLite {version}"


def _postgresql(database: Database) -> str:
    with database.read() as connection:
        before = time.time()
        found = connection.execute(_QUESTION).one()
        after = time.time()
    problems = []
    if found.number < _LEAST_POSTGRES:
        problems.append("it is older than version 13; upgrade it")
    if found.encoding != "UTF8":
        problems.append(f"its encoding is {found.encoding}; make the database anew with ENCODING 'UTF8'")
    if found.fsync == "off":
        problems.append("it runs with fsync = off, so a power cut can damage it; switch it on")
    if found.synchronous_commit == "off":
        problems.append(
            "it runs with synchronous_commit = off, so a power cut can undo what was answered; switch it on"
        )
    difference = max(before - float(found.now), float(found.now) - after)
    if difference > _MAX_CLOCK_DIFFERENCE_S:
        problems.append(f"its clock and this machine's differ by {difference:.1f} s; let both follow NTP")
    if problems:
        raise AirserveError(f"PostgreSQL {found.version} answers, but {'; '.join(problems)}")
    return f"PostgreSQL {found.version.split()[0]} answers in {(after - before) * 1e3:.1f} ms"
