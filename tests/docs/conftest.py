"""Services that the pages of the documentation can call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Service, start_service
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def service_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that a reader sets after `airserve up`, from a first start."""
    running = start_service(tmp_path_factory.mktemp("service") / "state")
    yield _variables(running.state_dir, running.ready)
    assert running.stop() == 0


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
