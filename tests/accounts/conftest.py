from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airserve.accounts import create_tenant
from airserve.storage import Database
from airserve.storage.database import FILE_NAME

PEPPER = b"p" * 32


@pytest.fixture
def acme(tmp_path: Path, sqlite_file: Path) -> Iterator[Database]:
    """A database with one tenant, `acme`."""
    (tmp_path / "acme").mkdir()
    shutil.copyfile(sqlite_file, tmp_path / "acme" / FILE_NAME)
    database = Database.open(tmp_path / "acme")
    create_tenant(database, "acme", now_ns=1)
    yield database
    database.close()


@pytest.fixture
def acme_on_each(database: Database) -> Database:
    """The same on SQLite and on PostgreSQL, for what writes or joins in a way of its own."""
    create_tenant(database, "acme", now_ns=1)
    return database
