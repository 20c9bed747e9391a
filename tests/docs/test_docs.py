"""The documentation does what it says: every command and every piece of Python on every page runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airserve.lab.emulation import missing
from tests import commands
from tests.docs import pages
from tests.large_models import photographs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PAGE_SECONDS = 180

# These call `efficientnet`, `minilm` or `gemma`, and find the photographs in their folder.
OF_LARGE_MODELS = ("vision.md", "embed.md", "chat.md")

# These emulate links, which not every machine can.
OF_EMULATED_LINKS = ("experiments.md", "lab.md")

_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _marked(page: Path) -> Any:
    return pytest.param(page, marks=[pytest.mark.models] if page.name in OF_LARGE_MODELS else [], id=_name(page))


@pytest.mark.server
@pytest.mark.parametrize("page", [_marked(page) for page in PAGES])
def test_what_a_page_says_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = pages.fences(page.read_text())
    if page.name in OF_EMULATED_LINKS and missing():
        pytest.skip("; ".join(missing()))
    if not any(fence.info in pages.RUN for fence in found):
        pytest.skip("nothing to run on this page")
    home, work, scripts, forks = (tmp_path / name for name in ("home", "work", "scripts", "forks"))
    for folder in (home, work, scripts, forks):
        folder.mkdir()
    commands.install(forks)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRSERVE_")},
        "PATH": os.pathsep.join((str(forks), str(Path(sys.executable).parent), os.environ["PATH"])),
        "HOME": str(home),
        "AIRSERVE_STATE_DIR": str(tmp_path / "state"),
    }
    if page.name == "postgresql.md":
        environment |= request.getfixturevalue("postgres_environment")
    elif page.name in OF_LARGE_MODELS:
        environment |= request.getfixturevalue("large_environment")
        _write_photographs(work)
    elif pages.needs_service(found):
        environment |= request.getfixturevalue("service_environment")
    done = subprocess.run(
        ["bash", "-c", pages.script(found, scripts)],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PAGE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{_name(page)}: exit code {done.returncode}\n{done.stderr}\n{done.stdout}"


def _write_photographs(folder: Path) -> None:
    for name in ("cat", "coffee"):
        with Image.open(photographs()[name]) as image:
            image.save(folder / f"{name}.jpg", quality=90)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_shows_no_commands_that_are_not_run(page: Path) -> None:
    for fence in pages.fences(page.read_text()):
        allowed = (*pages.RUN, *pages.SHOWN)
        assert fence.info in allowed, f"{_name(page)}:{fence.line}: ```{fence.info} is none of {', '.join(allowed)}"
        if fence.info == "console":
            assert pages.commands(fence), f"{_name(page)}:{fence.line}: a console fence without a line that begins '$ '"


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))], ids=_name
)
def test_what_a_page_links_to_exists(page: Path) -> None:
    for target, _ in _LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{_name(page)} links to {target}, which does not exist"


def _run(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", pages.script(pages.fences(page), folder)]
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )


def test_fences_of_a_page_share_one_session(tmp_path: Path) -> None:
    page = """
```console
$ greeting=hello
$ cat > name.txt <<END
> world
> END
```
```python
name = open("name.txt").read().strip()
print("not an answer")
```
```console
$ printf %s \\
    "$greeting" > greeting.txt
this is output
```
```python
assert open("greeting.txt").read() + name == "helloworld"
```
"""
    done = _run(page, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page",
    [
        "```console\n$ false\n$ true\n```\n",
        "```console\n$ there-is-no-such-command\n```\n",
        "```console\n$ false | cat\n```\n",
        "```python\nraise ValueError\n```\n",
        "```python\nx = 1\n```\n```python\nassert x == 2\n```\n",
    ],
)
def test_what_fails_on_a_page_is_noticed(page: str, tmp_path: Path) -> None:
    assert _run(page, tmp_path).returncode != 0


def test_what_a_page_does_not_want_run_is_not_run(tmp_path: Path) -> None:
    assert _run("```console no-run\n$ false\n```\n", tmp_path).returncode == 0
