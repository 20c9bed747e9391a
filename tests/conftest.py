"""Real parts for all tests: a served state folder, models made on the spot, a client for HTTP."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from airserve.models.catalog import Catalog
from airserve.storage import Database
from airserve.storage.database import FILE_NAME
from tests import commands, large_models, postgres
from tests.models_for_tests import save_failing, save_linear, save_slow

# Enough to find what an edit broke; `make fuzz` and longer runs by hand look for the rest. No test has a deadline.
settings.register_profile("suite", max_examples=40, deadline=None)
settings.load_profile("suite")

AIRSERVE = str(Path(sys.executable).with_name("airserve"))
# The groups of tests that take longest, the longest first.
_LONGEST = (
    "the service of large models",
    "server/test_dropped_generations.py",
    "models/optimise/test_gguf_variants.py",
    "cli/test_train.py",
    "docs/train.md",
    "docs/",
    "serving/test_service.py",
    "tests/server/",
    "tests/cli/",
    "tests/engines/",
)
_started: list[subprocess.Popen[bytes]] = []
_shared: list[Path] = []
# What the first `airserve up` does before it serves.
_PREPARE = """
import sys
from pathlib import Path
from airserve.cli.first_start import prepare
from airserve.server.settings import load_settings
prepare(load_settings(Path(sys.argv[1])), demo=True)
"""


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
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def publish(state_dir: Path, models: Mapping[str, Path]) -> None:
    """Publish models under their names, in this process: the command takes a second for each."""
    database = Database.open(state_dir)
    catalog = Catalog(database, state_dir / "store")
    for name, path in models.items():
        catalog.publish(path, name=name)
    database.close()


@pytest.fixture(scope="session", autouse=True)
def _shared_by_workers(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    base = tmp_path_factory.getbasetemp()
    _shared.append(base if worker_id == "master" else base.parent)


def copy_first_state(state_dir: Path) -> None:
    """Make `state_dir` as the first start of a service leaves it, with the demo model, which is trained once a run."""
    template = _shared[0] / "first-state"
    with (_shared[0] / "first-state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            made = _shared[0] / "first-state-in-the-making"
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run([sys.executable, "-c", _PREPARE, str(made)], check=True, timeout=120, capture_output=True)
            made.rename(template)
    shutil.copytree(template, state_dir)


@contextmanager
def on_one_core() -> Iterator[None]:
    """What is started meanwhile has one core: threads of a language model wait for each other by spinning."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[os.getpid() % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def start_service(
    state_dir: Path, *arguments: str, environment: dict[str, str] | None = None, first: bool = False
) -> Service:
    """Start `airserve up`. An empty state folder is a copy of one that was started before, but for `first`."""
    if not (first or state_dir.exists() or "--no-demo" in arguments):
        copy_first_state(state_dir)
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What belongs together runs in one process: the tests of a file, and all that need the service of large models.

    What takes longest comes first, so that no process is left with it at the end. Before xdist reads the groups.
    """
    for item in items:
        is_page = "test_what_a_page_says_runs" in item.nodeid
        of_large_service = is_page and item.get_closest_marker("models")
        if of_large_service or "large_service" in getattr(item, "fixturenames", ()):
            group = "the service of large models"
        else:
            group = item.nodeid if is_page else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    group = str(next(item.iter_markers("xdist_group")).args[0])
    return next((rank for rank, name in enumerate(_LONGEST) if name in group), len(_LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    """Groups are handed out in the order above; left alone, xdist keeps those of few tests, the long ones, for last."""
    config.option.loadscopereorder = False


def pytest_sessionfinish() -> None:
    """No service of a test that failed half-way goes on running."""
    commands.stop()
    for process in _started:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as they found it: digits, a linear, a slow and a failing model."""
    folder = tmp_path_factory.mktemp("service")
    saved = {"linear": save_linear, "slow": save_slow, "failing": save_failing}
    copy_first_state(folder / "state")
    publish(folder / "state", {name: save(folder / f"{name}.onnx") for name, save in saved.items()})
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
    copy_first_state(folder / "state")
    packages = {"efficientnet": efficientnet_package, "minilm": minilm_package, "gemma": large_models.gemma()}
    publish(folder / "state", packages)
    with on_one_core():
        running = start_service(folder / "state")
    yield running
    assert running.stop() == 0
