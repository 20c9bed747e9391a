from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from airserve.core.errors import AirserveError
from airserve.metering.prices import Price, load_prices
from airserve.storage import Database, tables
from airserve.storage.database import FILE_NAME
from airserve.storage.migrate import HEAD, config, upgrade

PRICE = {"model": "*", "per_call_nano": 1, "per_compute_second_nano": 2, "currency": "EUR", "created_ns": 3}


def add_prices(folder: Path, count: int) -> None:
    database = Database.open(folder)
    for _ in range(count):
        with database.write() as connection:
            connection.execute(tables.prices.insert().values(**PRICE))
    database.close()


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.prices)).scalar_one())


def test_the_folder_is_private_and_the_schema_is_that_of_the_newest_migration(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    database = Database.open(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with database.read() as connection:
        assert ScriptDirectory.from_config(config(connection)).get_current_head() == HEAD
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_a_database_of_the_first_version_is_brought_up_to_date_without_loss(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE_NAME}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        upgrade(connection, "0001")
        connection.execute(
            sa.text(
                "INSERT INTO prices (model, per_call_nano, per_compute_second_nano, currency, created_ns) "
                "VALUES ('digits', 5, 6, 'CHF', 7)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO usage_events VALUES "
                "('ten_a/1', 'ten_a', 'key', 'digits', 2, 1, 'ok', 3, 4, 5, 6, 7, 'CHF', 8, 'node0', 9, 10)"
            )
        )
    engine.dispose()
    database = Database.open(tmp_path)
    assert load_prices(database).of("digits") == Price(1, "digits", 5, 6, "CHF", 0, 0, 0)
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


@pytest.mark.parametrize("column", ["per_million_input_tokens_nano", "per_million_cached_tokens_nano"])
def test_a_negative_price_of_tokens_is_refused_by_the_database_itself(tmp_path: Path, column: str) -> None:
    database = Database.open(tmp_path)
    with pytest.raises(sa.exc.IntegrityError, match="CHECK"), database.write() as connection:
        connection.execute(tables.prices.insert().values(**PRICE, **{column: -1}))
    database.close()


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(tables.prices.insert().values(**PRICE))
        raise RuntimeError
    assert count(database) == 0
    database.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_prices, args=(tmp_path, 50)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    database = Database.open(tmp_path)
    assert count(database) == 150
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()


def test_the_change_counter_moves_with_every_commit_from_anywhere(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    seen = database.change_counter()
    assert database.change_counter() == seen
    add_prices(tmp_path, 1)
    after = database.change_counter()
    assert after != seen
    with database.write() as connection:
        connection.execute(tables.prices.insert().values(**PRICE))
    assert database.change_counter() != after
    database.close()


def test_a_reader_sees_one_state_while_others_write(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    query = sa.select(sa.func.count()).select_from(tables.prices)
    with database.read() as connection:
        assert connection.execute(query).scalar() == 0
        with database.write() as writer:
            writer.execute(tables.prices.insert().values(**PRICE))
        assert connection.execute(query).scalar() == 0
    assert count(database) == 1
    database.close()


@pytest.mark.parametrize("statement", ["DELETE FROM prices", "UPDATE prices SET per_call_nano = 0"])
def test_what_only_grows_refuses_to_be_changed(tmp_path: Path, statement: str) -> None:
    database = Database.open(tmp_path)
    add_prices(tmp_path, 1)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as connection:
        connection.exec_driver_sql(statement)
    assert count(database) == 1
    database.close()


def test_a_state_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AirserveError, match="folder"):
        Database.open(tmp_path / "file")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "airserve.db").write_bytes(b"this is no database at all, but long enough" * 100)
    with pytest.raises(AirserveError, match="database"):
        Database.open(tmp_path / "state")
