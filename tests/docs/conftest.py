"""Services that the pages of the documentation can call."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Service
from tests.postgres import Postgres

BIN = Path(sys.executable).parent
START_SECONDS = 90.0


@pytest.fixture(scope="session")
def service_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that a reader sets after `airserve up`, from a first start in an empty folder."""
    folder = tmp_path_factory.mktemp("service")
    state, ready_file, log = folder / "state", folder / "ready.json", folder / "log"
    command: list[str | Path] = [
        BIN / "airserve",
        "up",
        "--state-dir",
        state,
        "--port",
        "0",
        "--ready-file",
        ready_file,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"airserve up did not become ready:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield _variables(state, json.loads(ready_file.read_text()))
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def postgres_environment(postgres_server: Postgres) -> Iterator[dict[str, str]]:
    """Two empty databases of a PostgreSQL server."""
    with postgres_server.database("template0") as url, postgres_server.database("template0") as new_url:
        yield {"DATABASE_URL": url, "NEW_DATABASE_URL": new_url}


@pytest.fixture(scope="session")
def large_environment(large_service: Service) -> dict[str, str]:
    """The same for the service of large models."""
    return _variables(large_service.state_dir, large_service.ready)


def _variables(state: Path, ready: dict[str, Any]) -> dict[str, str]:
    return {
        "AIRSERVE_STATE_DIR": str(state),
        "AIRSERVE_URL": ready["url"],
        "AIRSERVE_HTTP_URL": ready["http_url"],
        "AIRSERVE_KEY": ready["key"],
        "AIRSERVE_OPERATOR_KEY": ready["operator_key"],
        "AIRSERVE_CA": ready["ca"],
    }
