"""The shape of the repository: the rooms, what a device can import, the pinned dependencies."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "airserve"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Run with the blocked modules as the first argument and the module to import as the second.
IMPORT_WITHOUT = """
import importlib, sys

blocked = frozenset(sys.argv[1].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not installed on a device", name=name)

sys.meta_path.insert(0, Refuse())
importlib.import_module(sys.argv[2])
"""


def _distribution(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def _server_only_modules() -> frozenset[str]:
    """The import names of what only the extras of pyproject.toml bring."""
    project = PROJECT["project"]
    base = {_distribution(requirement) for requirement in project["dependencies"]}
    extra = {_distribution(line) for lines in project["optional-dependencies"].values() for line in lines} - base
    return frozenset(
        module
        for module, distributions in packages_distributions().items()
        if extra & {_distribution(name) for name in distributions}
    )


def _import_without(blocked: frozenset[str], module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, ",".join(sorted(blocked)), module],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", ["airserve", "airserve.client", "airserve.nn", "airserve.codecs", "airserve.lab"])
def test_a_device_imports_it_with_the_base_dependencies_alone(module: str) -> None:
    blocked = _server_only_modules()
    assert {"sqlalchemy", "onnxruntime", "pyvoy", "structlog", "cryptography", "zstandard"} <= blocked
    done = _import_without(blocked, module)
    assert done.returncode == 0, done.stderr


def test_the_import_check_notices_a_server_module() -> None:
    done = _import_without(_server_only_modules(), "airserve.storage")
    assert done.returncode != 0
    assert "is not installed on a device" in done.stderr


def test_rooms_import_only_from_the_rooms_below_them() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_its_place_in_the_order() -> None:
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    ordered = {room.strip().removeprefix("airserve.") for line in layers for room in line.split("|")}
    on_disk = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert on_disk == ordered


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_room_says_what_it_is_for(room: str) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert docstring, f"src/airserve/{room}/__init__.py has no docstring"


def test_every_dependency_is_pinned_by_hash_and_none_by_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    requirements = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")
    ]
    assert len(requirements) > 50
    for line in requirements:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", line), f"not pinned to one version: {line[:80]}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", line), f"has no hash: {line[:80]}"


def test_every_direct_dependency_of_the_service_is_pinned() -> None:
    pinned = {_distribution(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = {
        _distribution(line)
        for lines in (PROJECT["project"]["dependencies"], extras["server"], extras["train"], extras["dev"])
        for line in lines
    }
    assert wanted <= pinned


def test_the_gate_of_changes_runs_lint_and_test_and_nothing_else() -> None:
    gate = ROOT / ".ci" / "run"
    assert os.access(gate, os.X_OK)
    steps = [line for line in gate.read_text().splitlines() if line.startswith("make ")]
    assert steps == ["make lint", "make test"]


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all tests run in one process")
def test_the_tests_of_a_file_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """Where xdist does not see the groups, nothing fails: each process starts the service of each file."""
    assert request.node.nodeid.endswith("@tests/test_layout.py")
