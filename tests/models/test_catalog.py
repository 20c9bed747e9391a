from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from airserve.core.errors import BadPackageError, ConflictError, InvalidInputError, NotFoundError
from airserve.models.catalog import Catalog
from airserve.storage import Database
from tests.conftest import AIRSERVE
from tests.models_for_tests import save_linear


@pytest.fixture
def catalog(tmp_path: Path, database: Database) -> Catalog:
    return Catalog(database, tmp_path / "state" / "store")


def graph(tmp_path: Path, factor: float) -> Path:
    return save_linear(tmp_path / "m.onnx", factor)


def test_versions_count_up_and_the_same_content_is_the_version_that_it_was(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.publish(graph(tmp_path, 1)).version == 1
    assert catalog.publish(graph(tmp_path, 2)).version == 2
    assert catalog.publish(graph(tmp_path, 1)).version == 1
    (spec,) = catalog.deployments()
    assert (spec.version, spec.aliases) == (1, ("prod",))
    assert [info.version for info in catalog.show("m")] == [1, 2]


def test_rollback_goes_to_the_version_before(catalog: Catalog, tmp_path: Path) -> None:
    for factor in (1, 2, 3):
        catalog.publish(graph(tmp_path, factor))
    assert catalog.rollback("m") == 2
    with pytest.raises(NotFoundError):
        catalog.rollback("m", "canary")
    catalog.publish(graph(tmp_path, 9), alias="canary")
    with pytest.raises(ConflictError, match="never pointed"):
        catalog.rollback("m", "canary")


def test_what_an_alias_points_at_is_not_retired_and_what_is_retired_is_not_pointed_at(
    catalog: Catalog, tmp_path: Path
) -> None:
    catalog.publish(graph(tmp_path, 1))
    catalog.publish(graph(tmp_path, 2))
    with pytest.raises(ConflictError, match="prod"):
        catalog.retire("m", 2)
    catalog.retire("m", 1)
    with pytest.raises(ConflictError, match="retired"):
        catalog.set_alias("m", "prod", 1)
    with pytest.raises(ConflictError):
        catalog.rollback("m")
    with pytest.raises(NotFoundError):
        catalog.retire("m", 7)


def test_verify_finds_a_flipped_byte(catalog: Catalog, tmp_path: Path) -> None:
    catalog.publish(graph(tmp_path, 1))
    (spec,) = catalog.deployments()
    assert catalog.verify() == {("m", 1): None}
    weights = bytearray((spec.folder / "model.onnx").read_bytes())
    weights[40] ^= 1
    (spec.folder / "model.onnx").write_bytes(weights)
    assert "checksum" in str(catalog.verify("m")["m", 1])


def test_what_is_refused_leaves_nothing_behind(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    for path, error in (("bad.onnx", BadPackageError), ("missing.onnx", NotFoundError)):
        with pytest.raises(error):
            catalog.publish(tmp_path / path)
    with pytest.raises(InvalidInputError):
        catalog.publish(graph(tmp_path, 1), name="../up")
    with pytest.raises(InvalidInputError):
        catalog.publish(graph(tmp_path, 1), alias="Prod!")
    assert not list(catalog.list())
    assert [path.name for path in (tmp_path / "state" / "store").iterdir()] == ["publish.lock"]


def test_a_publish_that_is_killed_at_any_moment_leaves_the_catalog_whole(tmp_path: Path) -> None:
    state = tmp_path / "state"
    database = Database.open(state)
    catalog = Catalog(database, state / "store")
    first = catalog.publish(graph(tmp_path, 1)).version
    draw = np.random.default_rng(1)
    start = time.monotonic()
    subprocess.run([AIRSERVE, "publish", str(graph(tmp_path, 100)), "--state-dir", str(state)], check=True, timeout=60,
                   capture_output=True)  # fmt: skip
    usual = time.monotonic() - start
    killed = 0
    for attempt in range(8):
        command = [sys.executable, "-m", "airserve.cli", "publish", str(graph(tmp_path, 2 + attempt))]
        process = subprocess.Popen(
            [*command, "--state-dir", str(state)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(usual * draw.uniform(0.3, 1.0))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        assert all(problem is None for problem in catalog.verify().values())
        assert [info.version for info in catalog.show("m")] == list(range(first, len(catalog.show("m")) + 1))
    assert killed
    assert catalog.publish(graph(tmp_path, 1000)).version == len(catalog.show("m"))
    assert not list((state / "store").glob("staging-*"))
    database.close()
