"""Two services on one PostgreSQL: one set of customers, keys, models and usage; each answers for itself."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.accounts import create_key, create_tenant
from airserve.accounts.plans import insert_plan
from airserve.accounts.subscriptions import subscribe
from airserve.accounts.terms import Budget, BudgetMode, Limits, Terms
from airserve.core.errors import ConflictError
from airserve.metering.prices import Price, insert_price
from airserve.server.installation import load_pepper, open_database
from airserve.server.settings import load_settings
from airserve.storage import Database, tables
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear, save_linear_failing
from tests.postgres import Postgres


@dataclass
class Servers:
    services: list[Service]
    url: str
    key: str
    key_id: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("several")
    with postgres_server.database() as url:
        for name in ("a", "b"):
            (folder / name).mkdir(mode=0o700)
            (folder / name / "settings.toml").write_text(
                f"database_url = '{url}'\nstore_dir = '../packages'\npepper_file = '../pepper'\n"
            )
        state = ("--state-dir", str(folder / "a"), "--json")
        airserve("publish", str(save_linear(folder / "linear.onnx")), *state)
        airserve("tenants", "create", "acme", *state)
        key = airserve("keys", "create", "acme", *state)
        services = [start_service(folder / name, "--no-demo") for name in ("a", "b")]
        yield Servers(services, url, key["key"], key["id"])
        assert services[0].stop() == 0
        # A server also stops in order while the database is away: its journal keeps what was not folded.
        postgres_server.stop()
        try:
            assert services[1].stop() == 0
        finally:
            postgres_server.start()


def infer(service: Service, key: str, model: str = "linear") -> int:
    """The status of one call of 2 · 1."""
    return ask(service, key, model)[0]


def factor(service: Service, key: str, model: str) -> float:
    """What a model multiplies 1 with; 0 where the call fails."""
    status, answer = ask(service, key, model)
    return float(answer["outputs"][0]["data"][0]) if status == 200 else 0.0


def ask(service: Service, key: str, model: str) -> tuple[int, Any]:
    """Status and document of one call with four ones."""
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
    request = urllib.request.Request(
        f"{service.url}/v2/models/{model}/infer",
        json.dumps(document).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until it holds. How long it took is nothing that a test should depend on, so this is far more than it should."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def events(url: str, folder: Path) -> list[Any]:
    """The calls of the model `linear` that were folded."""
    database = Database.open(folder, url)
    with database.read() as connection:
        columns = tables.usage_events.c
        query = sa.select(columns.id, columns.node_id).where(columns.model == "linear")
        rows = connection.execute(query).all()
    database.close()
    return list(rows)


@pytest.mark.server
def test_usage_of_both_is_in_one_ledger_and_no_call_twice(servers: Servers, tmp_path: Path) -> None:
    for number in range(7):
        assert infer(servers.services[number % 2], servers.key) == 200
    wait_for(lambda: len(events(servers.url, tmp_path)) == 7, "the calls of both were not folded")
    found = events(servers.url, tmp_path)
    assert len({row.id for row in found}) == 7
    assert sorted(sum(row.node_id == node for row in found) for node in {row.node_id for row in found}) == [3, 4]
    for service in servers.services:
        assert sum(row["ok"] for row in service.run("usage")) == 7


@pytest.mark.server
def test_what_is_published_on_one_is_served_by_both(servers: Servers, tmp_path: Path) -> None:
    first, _ = servers.services
    first.run("publish", str(save_linear(tmp_path / "new.onnx", 3.0)))
    for service in servers.services:
        wait_for(lambda service=service: infer(service, servers.key, "new") == 200, "not served")  # type: ignore[misc]


@pytest.mark.server
def test_both_answer_while_the_database_is_away_and_follow_it_again_afterwards(
    servers: Servers, postgres_server: Postgres, tmp_path: Path
) -> None:
    before = len(events(servers.url, tmp_path))
    postgres_server.stop()
    try:
        time.sleep(0.6)  # The keepers have looked, in vain.
        for service in servers.services:
            assert infer(service, servers.key) == 200
    finally:
        postgres_server.start()
    wait_for(lambda: len(events(servers.url, tmp_path)) == before + 2, "calls from meanwhile were not folded")
    made = servers.services[0].run("keys", "create", "acme")
    for service in servers.services:
        wait_for(lambda service=service: infer(service, made["key"]) == 200, "the new key is unknown")  # type: ignore[misc]


@pytest.mark.server
def test_a_key_that_was_revoked_on_one_is_refused_by_both(servers: Servers) -> None:
    key = servers.services[1].run("keys", "create", "acme")
    for service in servers.services:
        wait_for(lambda service=service: infer(service, key["key"]) == 200, "the new key is unknown")  # type: ignore[misc]
    servers.services[0].run("keys", "revoke", key["id"])
    for service in servers.services:
        wait_for(lambda service=service: infer(service, key["key"]) == 401, "the key still works")  # type: ignore[misc]
        assert infer(service, servers.key) == 200


def test_a_server_with_another_pepper_is_refused_before_no_key_works(postgres_url: str, tmp_path: Path) -> None:
    first = load_settings(tmp_path / "a", database_url=postgres_url)
    database = open_database(first)
    load_pepper(first, database)
    other = load_settings(tmp_path / "b", database_url=postgres_url)
    other.state_dir.mkdir()
    with pytest.raises(ConflictError, match=r"is missing.*pepper_file"):
        load_pepper(other, database)
    # It was not made, so the right one can still be put there.
    assert not list(other.state_dir.iterdir())
    (other.state_dir / "pepper").write_bytes(b"q" * 32)
    with pytest.raises(ConflictError, match=r"is not the pepper.*pepper_file"):
        load_pepper(other, database)
    database.close()


def test_a_state_folder_is_not_used_with_another_database_than_its_own(postgres_url: str, tmp_path: Path) -> None:
    open_database(load_settings(tmp_path / "a", database_url=postgres_url)).close()
    with pytest.raises(ConflictError, match="AIRSERVE_DATABASE_URL"):
        open_database(load_settings(tmp_path / "a"))
    open_database(load_settings(tmp_path / "b")).close()
    with pytest.raises(ConflictError, match="airserve db backup"):
        open_database(load_settings(tmp_path / "b", database_url=postgres_url))


@pytest.mark.server
def test_two_servers_hold_one_rate_together(servers: Servers, tmp_path: Path) -> None:
    quota = 300
    terms = Terms(limits=Limits(calls_per_minute=quota))
    key = customer(servers, tmp_path, "a-rate", terms)
    answered, refused = count(), count()
    begin = time.monotonic()

    def ask(number: int) -> None:
        # Each server is offered more than its share all the time; the one twice as much as the other.
        while time.monotonic() < begin + 4:
            status = infer(servers.services[number % 3 == 0], key)
            assert status in (200, 429)
            next(answered if status == 200 else refused)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(6)))
    allowed = quota * (1 + (time.monotonic() - begin) / 60)
    assert next(refused) > 20
    assert 0.98 * allowed <= next(answered) <= 1.02 * allowed


@pytest.mark.server
def test_two_servers_spend_one_strict_budget_to_the_last_call(servers: Servers, tmp_path: Path) -> None:
    cent, affordable = 10_000_000, 40
    key = customer(servers, tmp_path, "a-budget", Terms(budget=Budget(affordable * cent, mode=BudgetMode.STRICT)), cent)
    answered = count()

    def ask(number: int) -> None:
        service, in_a_row = servers.services[number % 2], 0
        while in_a_row < 3:
            status = infer(service, key)
            assert status in (200, 402)
            in_a_row = 0 if status == 200 else in_a_row + 1
            if status == 200:
                next(answered)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(6)))
    # One after the other now: nobody holds what another could use.
    for number in range(2):
        ask(number)
    assert next(answered) == affordable
    database = Database.open(tmp_path, servers.url)
    windows = tables.budget_windows.c
    query = sa.select(windows.spent_nano, windows.leased_nano).where(
        windows.scope == "tenant", windows.period == "month", windows.spent_nano > 0
    )

    def all_is_spent() -> bool:
        with database.read() as connection:
            return connection.execute(query).all() == [(affordable * cent, 0)]

    wait_for(all_is_spent, "the ledger holds just what was affordable, and no lease is left")
    database.close()


@pytest.mark.server
def test_a_rollout_leads_a_tenant_to_the_same_version_on_both(servers: Servers, tmp_path: Path) -> None:
    first, second = servers.services
    first.run("publish", str(save_linear(tmp_path / "v1.onnx", 2.0)), "--name", "rolled")
    first.run("publish", str(save_linear(tmp_path / "v2.onnx", 3.0)), "--name", "rolled", "--no-alias")
    keys = [customer(servers, tmp_path, f"rolled-{number}", Terms()) for number in range(8)]
    wait_for(lambda: told(servers, keys) == [[2.0] * 8] * 2, "both serve the old version")
    second.run("rollout", "rolled", "2", "--steps", "50,100", "--guard", "error<20%", "--shadow", "no", "--every", "1h")

    wait_for(lambda: told(servers, keys)[0] == told(servers, keys)[1] != [2.0] * 8, "both lead some to the new version")
    assert set(told(servers, keys)[0]) == {2.0, 3.0}
    first.run("rollout", "next", "rolled")
    wait_for(lambda: told(servers, keys) == [[3.0] * 8] * 2, "both lead all there")
    second.run("rollout", "stop", "rolled")
    wait_for(lambda: told(servers, keys) == [[2.0] * 8] * 2, "both are back")


@pytest.mark.server
def test_what_fails_on_one_server_rolls_back_both(servers: Servers, tmp_path: Path) -> None:
    first, second = servers.services
    first.run("publish", str(save_linear(tmp_path / "v1.onnx", 2.0)), "--name", "broken")
    first.run("publish", str(save_linear_failing(tmp_path / "v2.onnx")), "--name", "broken", "--no-alias")
    keys = [customer(servers, tmp_path, f"broken-{number}", Terms()) for number in range(4)]
    wait_for(lambda: told(servers, keys, "broken") == [[2.0] * 4] * 2, "both serve the old version")
    first.run("rollout", "broken", "2", "--steps", "100", "--guard", "error<1%", "--shadow", "no")
    wait_for(lambda: infer(second, keys[0], "broken") == 500, "it has reached the other server")
    # Nobody calls the first server meanwhile.
    wait_for(lambda: infer(second, keys[0], "broken") == 200, "the other server goes back")
    wait_for(lambda: told(servers, keys, "broken") == [[2.0] * 4] * 2, "both are back")
    (latest,) = first.run("rollout", "history", "broken")
    ended = latest["rollout"]
    assert ended["state"] == "rolled_back"
    assert ended["reason"].startswith("error<1%: ")


def told(servers: Servers, keys: Sequence[str], model: str = "rolled") -> list[list[float]]:
    """What 1 is multiplied with, by server and key; 0 where the call fails."""
    return [[factor(service, key, model) for key in keys] for service in servers.services]


def customer(servers: Servers, folder: Path, name: str, terms: Terms, per_call_nano: int = 0) -> str:
    """The key of a new tenant on these terms, once both servers know it."""
    database, now_ns = Database.open(folder, servers.url), time.time_ns()
    settings = load_settings(servers.services[0].state_dir)
    create_tenant(database, name, now_ns=now_ns)
    with database.write() as connection:
        plan = insert_plan(connection, name, name, terms, now_ns=now_ns)
        insert_price(connection, Price(0, "*", per_call_nano, 0, "EUR", plan_id=plan.id), now_ns)
    subscribe(database, name, name, now_ns=now_ns)
    key, _ = create_key(database, load_pepper(settings, database), now_ns=now_ns, tenant=name)
    database.close()
    for service in servers.services:
        wait_for(lambda service=service: reads(service, key), "every server knows the key")  # type: ignore[misc]
    return key


def reads(service: Service, key: str) -> bool:
    request = urllib.request.Request(f"{service.url}/v2/models/linear", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
