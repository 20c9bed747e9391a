"""What is installed is what was pinned: by hash, from the index, without code that runs by itself, and it is listed."""

from __future__ import annotations

import json
import re
import shlex
import site
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINNED = (ROOT / "constraints.txt").read_text()

# A line of a `.pth` file that begins so is run by every start of the interpreter.
CODE = re.compile(r"^import[ \t]", re.MULTILINE)
KNOWN = {"distutils-precedence.pth"}
"""Of setuptools: it runs nothing but its own shim."""


def loose(constraints: str) -> list[str]:
    """Lines that let something else be installed than what was pinned."""
    found = []
    for entry in constraints.replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        exact = re.fullmatch(r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^\s;@/]+( ; .+)?", requirement.strip())
        if not exact or not hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes):
            found.append(entry)
    return found


def running_code(folder: Path) -> list[str]:
    """The `.pth` files of a folder that run code of their own."""
    files = folder.glob("*.pth")
    return sorted(file.name for file in files if file.name not in KNOWN and CODE.search(file.read_text()))


def test_everything_is_pinned_with_its_hash_and_comes_from_no_url() -> None:
    assert loose(PINNED) == []
    assert len(re.findall(r"^[a-z0-9]", PINNED, re.MULTILINE)) > 50


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=2", "numpy==2.0", "numpy @ https://example.org/numpy.whl --hash=sha256:" + "0" * 64,
        "git+https://example.org/x.git", "--extra-index-url https://example.org/", "-e ../x",
        "numpy==2.0 --hash=md5:" + "0" * 32,
    ],
)  # fmt: skip
def test_a_line_that_is_not_pinned_is_seen(line: str) -> None:
    assert loose(PINNED + line + "\n") == [line]


def test_nothing_that_is_installed_runs_code_at_every_start(tmp_path: Path) -> None:
    for folder in site.getsitepackages():
        assert running_code(Path(folder)) == []
    (tmp_path / "paths.pth").write_text("/somewhere/src\n")
    (tmp_path / "planted.pth").write_text("import os; os.environ\n")
    assert running_code(tmp_path) == ["planted.pth"]


def test_our_wheel_holds_the_package_and_nothing_that_runs_by_itself(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"airserve"}
    assert [name for name in names if name.endswith((".pth", ".so", ".pyd", ".data"))] == []
    assert scripts.split() == ["[console_scripts]", "airserve", "=", "airserve.cli:main"]


def normal(name: str) -> str:
    """As the index writes a name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_lists_what_is_pinned(tmp_path: Path) -> None:
    recipe = re.search(r"^\t\$\(BIN\)/(cyclonedx-py .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    bin_ = Path(sys.executable).parent
    text = recipe[1].replace("$(BIN)", str(bin_)).replace("build/sbom.json", str(tmp_path / "sbom.json"))
    command, *arguments = shlex.split(text)
    # It would validate what it wrote, for most of a minute.
    subprocess.run([bin_ / command, *arguments, "--no-validate"], cwd=ROOT, check=True, capture_output=True)
    components = json.loads((tmp_path / "sbom.json").read_text())["components"]
    listed = {normal(each["name"]): each["version"] for each in components}
    missing = []
    for name, pinned in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", PINNED, re.MULTILINE):
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # of another platform
        if listed.get(normal(name)) != installed:
            missing.append((name, pinned))
    assert missing == []
    assert len(listed) > 50
