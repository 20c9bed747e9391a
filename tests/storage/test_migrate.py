from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from airserve.core.errors import AirserveError, InvalidInputError
from airserve.metering.prices import load_prices
from airserve.storage import Database, tables
from airserve.storage.migrate import HEAD, config, current_revision, losses, migrate
from tests.postgres import Postgres
from tests.storage.filled import amounts, everything, fill

REVISIONS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]
KILLED = 9


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database_url: str | None) -> Iterator[str | None]:
    """Where a database without any table is: None for SQLite in the state folder."""
    if database_url is None:
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with server.database("template0") as url:
        yield url


def go(database: Database, revision: str) -> None:
    with database.change_schema() as connection:
        migrate(connection, revision)


def schema(database: Database) -> dict[str, Any]:
    """Tables with the names of their columns, and the triggers."""
    with database.read() as connection:
        inspector = sa.inspect(connection)
        found: dict[str, Any] = {
            name: sorted(column["name"] for column in inspector.get_columns(name))
            for name in inspector.get_table_names()
        }
        triggers = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
            "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
        }
        found["triggers"] = sorted(connection.exec_driver_sql(triggers[database.dialect]).scalars())
    return found


def test_the_schema_of_the_newest_migration_is_that_of_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert ScriptDirectory.from_config(config(connection)).get_current_head() == HEAD
        assert current_revision(connection) == HEAD
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_a_database_of_the_first_version_is_brought_up_to_date_without_loss(
    tmp_path: Path, empty_url: str | None
) -> None:
    first = Database.open_as_it_is(tmp_path, empty_url)
    go(first, "0001")
    with first.change_schema() as connection:
        connection.exec_driver_sql(
            "INSERT INTO prices (model, per_call_nano, per_compute_second_nano, currency, created_ns) "
            "VALUES ('digits', 5, 6, 'CHF', 7)"
        )
        connection.exec_driver_sql(
            "INSERT INTO usage_events VALUES "
            "('ten_a/1', 'ten_a', 'key', 'digits', 2, 1, 'ok', 3, 4, 5, 6, 7, 'CHF', 8, 'node0', 9, 10)"
        )
        connection.exec_driver_sql("INSERT INTO tenants VALUES ('ten_a', 'acme', 'active', 1)")
        connection.exec_driver_sql("INSERT INTO journal_marks VALUES ('node0', 9, 0, 500, 10)")
    first.close()
    database = Database.open(tmp_path, empty_url)
    price = load_prices(database).of("digits")
    assert (price.per_call_nano, price.per_compute_second_nano, price.currency) == (5, 6, "CHF")
    with database.read() as connection:
        (row,) = connection.execute(sa.select(tables.usage_events))
    assert row._mapping == {
        "id": "ten_a/1", "tenant_id": "ten_a", "key_id": "key", "model": "digits", "version": 2, "price_id": 1,
        "outcome": "ok", "rows": 3, "bytes_in": 4, "bytes_out": 5, "compute_ns": 6, "amount_nano": 7, "currency": "CHF",
        "admitted_ns": 8, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "project_id": "", "cap_nano": 0,
        "node_id": "node0", "epoch": 9, "lsn": 10,
    }  # fmt: skip
    for table in ("prices", "usage_events"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET model = 'other'"):
            with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as connection:
                connection.exec_driver_sql(statement)
    database.close()


def test_a_filled_database_goes_back_step_by_step_and_forward_again(
    database: Database, tmp_path: Path, empty_url: str | None
) -> None:
    fill(database, tmp_path / "journal")
    before = amounts(database)
    fresh = Database.open_as_it_is(tmp_path / "fresh", empty_url)
    at = {}
    for revision in REVISIONS:
        go(fresh, revision)
        at[revision] = schema(fresh)
    for revision in reversed(REVISIONS[:-1]):
        go(database, revision)
        assert schema(database) == at[revision]
    for revision in REVISIONS[1:]:
        go(database, revision)
        assert schema(database) == at[revision]
    assert amounts(database) == before
    go(database, "base")
    assert set(schema(database)) == {"alembic_version", "triggers"}
    fresh.close()


def test_what_going_back_would_delete_is_told_and_what_holds_nothing_is_not(database: Database, tmp_path: Path) -> None:
    with database.change_schema() as connection:
        assert losses(connection, "0001") == []
    fill(database, tmp_path / "journal", calls=30)
    with database.read() as connection:
        before = everything(connection)
    with database.change_schema() as connection:
        told = losses(connection, "0004")
        assert "30 rows of the table ledger_entries" in told
        assert losses(connection, HEAD) == []
        assert any("column project_id" in each for each in losses(connection, "0003"))
    with database.read() as connection:
        assert everything(connection) == before


def test_a_migration_that_is_killed_at_any_statement_leaves_the_schema_that_was(
    tmp_path: Path, empty_url: str | None
) -> None:
    for attempt in range(1, 1_000, 23):
        if _dies_at(tmp_path, empty_url, attempt) != KILLED:
            break
        database = Database.open_as_it_is(tmp_path, empty_url)
        with database.read() as connection:
            assert current_revision(connection) is None
            assert sa.inspect(connection).get_table_names() == []
        database.close()
    assert attempt > 24
    database = Database.open(tmp_path, empty_url)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    database.close()


def _dies_at(state_dir: Path, url: str | None, statement: int) -> int:
    """Migrate in a process that ends before the statement of this number; its exit code."""
    child = os.fork()
    if child == 0:
        left = [statement]

        def count(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                os._exit(KILLED)

        try:
            sa.event.listen(sa.Engine, "before_cursor_execute", count)
            Database.open(state_dir, url)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_database_of_a_newer_airserve_is_refused_with_what_to_do(
    database: Database, tmp_path: Path, database_url: str | None
) -> None:
    with database.change_schema() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(AirserveError, match=f"airserve db migrate --to {HEAD}"):
        Database.open(tmp_path / "state", database_url)


def test_a_revision_that_does_not_exist_is_refused_with_those_that_do(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="0001"), database.change_schema() as connection:
        migrate(connection, "42")
