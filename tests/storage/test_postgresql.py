from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from airserve.accounts import create_tenant, list_tenants
from airserve.core.errors import OverloadedError
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal
from airserve.metering.ledger import fold
from airserve.storage import Database, tables
from tests.postgres import Postgres
from tests.storage.cutting_proxy import CuttingProxy, cutting_proxy

BREAKS = 60


def event(number: int) -> UsageEvent:
    return UsageEvent(
        f"c{number}", "ten_a", "key", "digits", 1, 1, Outcome.OK, 1, 2, 3, 4, 5, "EUR", 20_000 * 86_400 * 10**9
    )


@pytest.fixture
def proxied(postgres_url: str, tmp_path: Path) -> Iterator[tuple[CuttingProxy, Database]]:
    # Not in tmp_path: the path of a Unix domain socket has at most 107 bytes (unix(7)).
    with tempfile.TemporaryDirectory() as folder, cutting_proxy(postgres_url, Path(folder)) as (proxy, url):
        database = Database.open(tmp_path, url)
        yield proxy, database
        database.close()


def test_a_commit_whose_answer_is_lost_counts_as_what_the_server_made_of_it(
    proxied: tuple[CuttingProxy, Database],
) -> None:
    proxy, database = proxied
    proxy.cut = "after"
    create_tenant(database, "written", now_ns=1)
    proxy.cut = "before"
    with pytest.raises(OverloadedError, match="nothing of this was written"):
        create_tenant(database, "lost", now_ns=2)
    assert [tenant.name for tenant in list_tenants(database)] == ["written"]


def test_a_lost_connection_is_made_anew_and_what_was_half_done_is_not_there(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    database = Database.open(tmp_path, postgres_url)
    create_tenant(database, "acme", now_ns=1)
    with pytest.raises(OverloadedError, match="nothing of this was written"), database.write() as connection:
        connection.execute(sa.update(tables.tenants).values(name="half"))
        _end_all_connections(postgres_server, postgres_url)
        connection.execute(sa.update(tables.tenants).values(status="closed"))
    assert [(tenant.name, tenant.status) for tenant in list_tenants(database)] == [("acme", "active")]
    _end_all_connections(postgres_server, postgres_url)
    create_tenant(database, "another", now_ns=2)
    database.close()


def test_while_the_server_is_away_there_is_a_refusal_and_afterwards_all_is_well(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airserve.storage.postgresql._PATIENCE_S", 0.1)
    database = Database.open(tmp_path, postgres_url)
    create_tenant(database, "acme", now_ns=1)
    postgres_server.stop()
    try:
        for ask in (database.change_counter, lambda: create_tenant(database, "other", now_ns=2)):
            with pytest.raises(OverloadedError, match="does not answer") as refusal:
                ask()
            assert refusal.value.retry_after
    finally:
        postgres_server.start()
    assert [tenant.name for tenant in list_tenants(database)] == ["acme"]
    database.close()


def test_connections_that_end_at_any_moment_lose_no_event_count_none_twice_and_leave_nothing_half_written(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    moments = random.Random(7)
    journal = Journal.open(tmp_path / "journal", "n")
    databases = [Database.open(tmp_path, postgres_url) for _ in range(3)]
    done = threading.Event()
    recorded: list[str] = []
    refusals: Counter[str] = Counter()
    said_to_be_written: list[str] = []
    said_not_to_be_written: list[str] = []
    problems: list[BaseException] = []

    def keep(act: Callable[[int], Any]) -> threading.Thread:
        def run() -> None:
            number = 0
            while not done.is_set():
                number += 1
                try:
                    act(number)
                except OverloadedError as error:
                    refusals[error.message.partition(";")[2]] += 1
                except BaseException as error:
                    problems.append(error)
                    return

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def record(number: int) -> None:
        events = [event(10 * number + part) for part in range(3)]
        journal.append(events)
        recorded.extend(f"ten_a/{each.id}" for each in events)
        time.sleep(0.01)

    def administer(number: int) -> None:
        name = f"tenant {number}"
        try:
            create_tenant(databases[2], name, now_ns=number)
            said_to_be_written.append(name)
        except OverloadedError as error:
            if "nothing of" in error.message:
                said_not_to_be_written.append(name)
            raise
        # Two rows that belong together: each model has two prices, or none.
        with databases[2].write() as connection:
            for price in (1, 2):
                values = {"model": name, "per_call_nano": price, "per_compute_second_nano": 0}
                connection.execute(tables.prices.insert().values(**values, currency="EUR", created_ns=number))

    threads = [
        keep(record),
        keep(lambda _: fold(databases[0], tmp_path / "journal", chunk=20)),
        keep(lambda _: fold(databases[1], tmp_path / "journal", chunk=7)),
        keep(administer),
    ]
    for _ in range(BREAKS):
        time.sleep(moments.uniform(0.005, 0.05))
        _end_all_connections(postgres_server, postgres_url)
    done.set()
    for thread in threads:
        thread.join(60)
    journal.close()
    assert problems == []
    fold(databases[0], tmp_path / "journal")
    with databases[0].read() as connection:
        assert sorted(connection.scalars(sa.select(tables.usage_events.c.id))) == sorted(recorded)
        pairs = connection.execute(
            sa.select(tables.prices.c.model, sa.func.count()).group_by(tables.prices.c.model)
        ).all()
    names = {tenant.name for tenant in list_tenants(databases[0])}
    assert names.issuperset(said_to_be_written)
    assert names.isdisjoint(said_not_to_be_written)
    assert pairs
    assert {count for _, count in pairs} == {2}
    assert refusals
    for database in databases:
        database.close()


def _end_all_connections(server: Postgres, url: str) -> None:
    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
