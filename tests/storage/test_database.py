from __future__ import annotations

import multiprocessing
import stat
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa

from airserve.core.errors import AirserveError, InvalidInputError, OverloadedError
from airserve.storage import Database, tables

PRICE = {"model": "*", "per_call_nano": 1, "per_compute_second_nano": 2, "currency": "EUR", "created_ns": 3}


def add_price(database: Database, *, announce: bool = True) -> None:
    """Reads, decides and writes, as all that changes the tables may do: the price per call is the number of prices."""
    with database.write(announce=announce) as connection:
        number = connection.scalar(sa.select(sa.func.count()).select_from(tables.prices))
        connection.execute(tables.prices.insert().values(**PRICE | {"per_call_nano": number}))


def add_prices(folder: Path, url: str | None, count: int, start: Barrier | None = None) -> None:
    database = Database.open(folder, url)
    if start is not None:
        start.wait(60)
    for number in range(count):
        add_price(database, announce=number % 3 == 0)
    database.close()


def prices(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.scalars(sa.select(tables.prices.c.per_call_nano).order_by(tables.prices.c.id)))


def test_the_folder_is_private(database: Database, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_negative_price_is_refused_by_the_database_itself(database: Database) -> None:
    columns = ("per_call_nano", "per_million_input_tokens_nano", "per_million_cached_tokens_nano")
    for column in columns:
        with pytest.raises(sa.exc.IntegrityError, match=r"(?i)check"), database.write() as connection:
            connection.execute(tables.prices.insert().values(**PRICE | {column: -1}))


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    before = database.change_counter()
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(tables.prices.insert().values(**PRICE))
        raise RuntimeError
    assert prices(database) == []
    assert database.change_counter() == before


def test_processes_that_write_at_once_follow_one_another(
    database: Database, tmp_path: Path, database_url: str | None
) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "state", database_url, 50, context.Barrier(2))
    writers = [context.Process(target=add_prices, args=arguments) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert prices(database) == list(range(100))


def test_the_change_counter_moves_with_every_announced_commit_from_anywhere(
    database: Database, tmp_path: Path, database_url: str | None
) -> None:
    seen = database.change_counter()
    assert database.change_counter() == seen
    add_prices(tmp_path / "state", database_url, 1)
    after = database.change_counter()
    assert after > seen
    add_price(database)
    assert database.change_counter() > after


def test_what_is_not_announced_does_not_move_the_change_counter(database: Database) -> None:
    seen = database.change_counter()
    with database.write(announce=False) as connection:
        connection.execute(tables.prices.insert().values(**PRICE))
    assert prices(database) == [1]
    assert database.change_counter() == seen


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    query = sa.select(sa.func.count()).select_from(tables.prices)
    with database.read() as connection:
        assert connection.execute(query).scalar() == 0
        with database.write() as writer:
            writer.execute(tables.prices.insert().values(**PRICE))
        assert connection.execute(query).scalar() == 0
    assert prices(database) == [1]


@pytest.mark.parametrize("statement", ["DELETE FROM prices", "UPDATE prices SET per_call_nano = 0"])
def test_what_only_grows_refuses_to_be_changed(database: Database, statement: str) -> None:
    add_price(database)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as connection:
        connection.exec_driver_sql(statement)
    assert prices(database) == [0]


def test_a_writer_with_a_lock_of_its_own_waits_only_for_the_same_lock(database: Database) -> None:
    """On PostgreSQL, where it may; on SQLite it waits for everybody."""
    order: list[str] = []

    def fold(name: str) -> None:
        with database.write(announce=False, lock=name):
            order.append(name)

    with database.write(announce=False, lock="fold:a"):
        threads = [threading.Thread(target=fold, args=(name,)) for name in ("fold:a", "fold:b")]
        for thread in threads:
            thread.start()
        if database.dialect == "postgresql":
            threads[1].join(20)
        order.append("first")
    for thread in threads:
        thread.join(20)
    assert order.index("first") < order.index("fold:a")
    assert (order.index("fold:b") < order.index("first")) is (database.dialect == "postgresql")


def test_a_state_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AirserveError, match="folder"):
        Database.open(tmp_path / "file")


@pytest.mark.parametrize("url", ["mysql://host/name", "host/name", "postgresql://host:port/name"])
def test_a_url_that_is_none_of_ours_is_refused_with_how_to_write_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInputError, match="postgresql://user:password@host/name"):
        Database.open(tmp_path, url)


def test_a_server_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airserve.storage.postgresql._PATIENCE_S", 0.1)
    with pytest.raises(OverloadedError, match="does not answer") as refusal:
        Database.open(tmp_path, "postgresql://someone:secret-word@127.0.0.1:1/airserve")
    assert "127.0.0.1" in refusal.value.message
    assert "secret-word" not in refusal.value.message
