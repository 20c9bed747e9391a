from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from airserve.core.errors import AirserveError
from airserve.server.database_health import database_health
from airserve.storage import Database


def test_a_sound_file_is_told_with_its_version(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    assert database_health(database).startswith("intact, SQLite 3.")
    database.close()


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    path = tmp_path / "airserve.db"
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(content)
    database = Database.open(tmp_path)
    with pytest.raises(AirserveError, match="restore it from a backup"):
        database_health(database)


def test_a_server_that_may_lose_what_it_promised_is_named(postgres_url: str, tmp_path: Path) -> None:
    """The tests' own server is such a one: it waits for no disk."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = on".encode())
    database = Database.open(tmp_path, postgres_url)
    with pytest.raises(AirserveError, match="fsync = off") as refusal:
        database_health(database)
    assert "PostgreSQL 18" in refusal.value.message
    assert "synchronous_commit" not in refusal.value.message
    database.close()
