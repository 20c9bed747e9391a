"""Real parts for all tests: a served state folder, models made on the spot, a client for HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from airserve.storage import Database
from airserve.storage.database import FILE_NAME
from tests import large_models, postgres
from tests.models_for_tests import save_failing, save_linear, save_slow

# Enough to find what an edit broke; `make fuzz` and longer runs by hand look for the rest. No test has a deadline.
settings.register_profile("suite", max_examples=40, deadline=None)
settings.load_profile("suite")

AIRSERVE = str(Path(sys.executable).with_name("airserve"))
_started: list[subprocess.Popen[bytes]] = []


@dataclass
class Service:
    """A running `airserve up`, and what its ready file says."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    state_dir: Path

    @property
    def url(self) -> str:
        return str(self.ready["http_url"])

    @property
    def key(self) -> str:
        return str(self.ready["key"])

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def run(self, *arguments: str) -> Any:
        """An operator's command on this service's state folder, with --json."""
        return airserve(*arguments, "--state-dir", str(self.state_dir), "--json")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def airserve(*arguments: str) -> Any:
    done = subprocess.run([AIRSERVE, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start_service(state_dir: Path, *arguments: str, environment: dict[str, str] | None = None) -> Service:
    ready_file = state_dir.parent / f"{state_dir.name}-ready.json"
    ready_file.unlink(missing_ok=True)
    with (state_dir.parent / f"{state_dir.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [AIRSERVE, "up", "--state-dir", str(state_dir), "--port", "0", "--ready-file", str(ready_file), *arguments],
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    _started.append(process)
    end = time.monotonic() + 60
    while not ready_file.exists():
        assert process.poll() is None, Path(log.name).read_text()[-3000:]
        assert time.monotonic() < end, "the service did not become ready within a minute"
        time.sleep(0.05)
    return Service(process, json.loads(ready_file.read_text()), state_dir)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """The PostgreSQL server of this run of the tests."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Postgres) -> Iterator[str]:
    """A PostgreSQL database of the test's own, migrated and empty."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """What `database_url` is set to: a test that asks for it runs on SQLite (None), then on PostgreSQL."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database, migrated and empty, to be copied: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("sqlite")
    Database.open(folder).close()
    return folder / FILE_NAME


@pytest.fixture
def database(tmp_path: Path, database_url: str | None, sqlite_file: Path) -> Iterator[Database]:
    """An empty database with its state folder `tmp_path / "state"`, on both kinds."""
    if database_url is None:
        (tmp_path / "state").mkdir(mode=0o700)
        shutil.copyfile(sqlite_file, tmp_path / "state" / FILE_NAME)
    database = Database.open(tmp_path / "state", database_url)
    yield database
    database.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What belongs together runs in one process: the tests of a file, and all that need the service of large models.

    The pages of the documentation are long and independent; they come first, so that none is left over at the end.
    """
    for item in items:
        is_page = "test_what_a_page_says_runs" in item.nodeid
        of_large_service = is_page and item.get_closest_marker("models")
        if of_large_service or "large_service" in getattr(item, "fixturenames", ()):
            group = "the service of large models"
        else:
            group = item.nodeid if is_page else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: "the service of large models" not in str(item.own_markers[-1].args))
    items.sort(key=lambda item: "/docs/" not in str(item.path))


def pytest_sessionfinish() -> None:
    """No service of a test that failed half-way goes on running."""
    for process in _started:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as they found it: digits, a linear, a slow and a failing model."""
    folder = tmp_path_factory.mktemp("service")
    for save, name in ((save_linear, "linear"), (save_slow, "slow"), (save_failing, "failing")):
        airserve("publish", str(save(folder / f"{name}.onnx")), "--state-dir", str(folder / "state"), "--json")
    settings = folder / "state" / "settings.toml"
    settings.write_text("max_body_bytes = 1000000\nqueue_capacity = 64\n")
    running = start_service(folder / "state")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def efficientnet_package() -> Path:
    """The folder of the package: EfficientNet-Lite0 behind a `[vision]` step."""
    return large_models.efficientnet()


@pytest.fixture(scope="session")
def minilm_package() -> Path:
    """The folder of the package: all-MiniLM-L6-v2 behind a `[text]` step."""
    return large_models.minilm()


@pytest.fixture(scope="session")
def large_service(
    tmp_path_factory: pytest.TempPathFactory, efficientnet_package: Path, minilm_package: Path
) -> Iterator[Service]:
    """One service of a real model of each family, `efficientnet`, `minilm` and `gemma`, beside the demo `digits`."""
    folder = tmp_path_factory.mktemp("large")
    packages = {"efficientnet": efficientnet_package, "minilm": minilm_package, "gemma": large_models.gemma()}
    for name, path in packages.items():
        airserve("publish", str(path), "--name", name, "--state-dir", str(folder / "state"), "--json")
    running = start_service(folder / "state")
    yield running
    assert running.stop() == 0
