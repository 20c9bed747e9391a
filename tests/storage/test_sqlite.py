from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from airserve.accounts import create_key, create_tenant
from airserve.core.errors import AirserveError
from airserve.storage import Database
from airserve.storage.database import FILE_NAME


def test_the_file_is_in_wal_mode_and_survives_a_check(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()


def test_a_table_that_is_made_anew_by_a_migration_keeps_what_refers_to_it(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    create_tenant(database, "acme", now_ns=1)
    create_key(database, b"p" * 32, now_ns=2, tenant="acme")
    with database.change_schema() as connection:
        connection.exec_driver_sql("CREATE TABLE made_anew AS SELECT * FROM tenants")
        connection.exec_driver_sql("DROP TABLE tenants")
        connection.exec_driver_sql(
            "CREATE TABLE tenants (id TEXT PRIMARY KEY, name TEXT, status TEXT, created_ns BIGINT)"
        )
        connection.exec_driver_sql("INSERT INTO tenants SELECT id, name, status, created_ns FROM made_anew")
        connection.exec_driver_sql("DROP TABLE made_anew")
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM api_keys").scalar() == 1
    with pytest.raises(AirserveError, match="references"), database.change_schema() as connection:
        connection.exec_driver_sql("DELETE FROM tenants")
    # In all other transactions a foreign key is looked at with each statement.
    with pytest.raises(sa.exc.IntegrityError), database.write(announce=False) as connection:
        connection.exec_driver_sql("DELETE FROM tenants")
    database.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database at all, but long enough" * 100)
    with pytest.raises(AirserveError, match="database"):
        Database.open(tmp_path)
