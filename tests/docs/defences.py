"""Take each defence of docs/threats.md out, in a copy of the tree, and see the test that names it fail.

python -m tests.docs.defences            all of them, half an hour
python -m tests.docs.defences sealed     those whose attack or file holds this word
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.docs.attack_defences import ATTACKS
from tests.docs.defence import Defence
from tests.docs.input_defences import INPUTS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
DEFENCES = [*ATTACKS, *INPUTS]


def take_out(defence: Defence, tree: Path) -> bool:
    """Whether the test of `defence` fails in `tree`, a copy, while the defence is out; it is back afterwards."""
    whole: dict[Path, str] = {}
    for name, there, gone in defence.edits:
        file = tree / "src" / "airserve" / name
        text = file.read_text()
        whole.setdefault(file, text)
        file.write_text(text.replace(there, gone, 1))
    try:
        return fails(defence.test, tree)
    finally:
        for file, text in whole.items():
            file.write_text(text)


def fails(test: str, tree: Path) -> bool:
    """Whether a test fails, or does not come to its end, in the copy `tree`."""
    name, *options = test.split()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    python = tree / ".venv" / "bin" / "python"
    command = [python, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/{name}", *options]
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:  # fmt: skip
        try:
            # 1: tests failed. Anything else (none found, bad options) shows nothing.
            return running.wait(SECONDS) == 1
        except subprocess.TimeoutExpired:
            # With all that it started: a test that is cut off stops no service.
            os.killpg(running.pid, signal.SIGKILL)
            return True


def copy_of(root: Path, tree: Path) -> None:
    """Copy what is at `root` to `tree`, with an environment in which the copy's own package is the one installed.

    Some processes are started without any variables, so that PYTHONPATH would not reach them.
    """
    ignored = shutil.ignore_patterns(".venv", ".git", ".cache", "build", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(root, tree, ignore=ignored)
    environment = Path(sys.prefix)
    packages = Path(sysconfig.get_path("purelib"))
    scripts, installed = tree / ".venv" / "bin", tree / ".venv" / packages.relative_to(environment)
    scripts.mkdir(parents=True)
    installed.mkdir(parents=True)
    shutil.copy(environment / "pyvenv.cfg", tree / ".venv")
    (scripts / "python3").symlink_to(Path(sys.executable).resolve())
    (scripts / "python").symlink_to("python3")
    command = (environment / "bin" / "airserve").read_text()
    (scripts / "airserve").write_text(command.replace(str(environment), str(tree / ".venv")))
    (scripts / "airserve").chmod(0o755)
    for package in packages.iterdir():
        if package.suffix == ".pth":
            (installed / package.name).write_text(package.read_text().replace(str(root), str(tree)))
        elif package.name != "__pycache__":
            (installed / package.name).symlink_to(package)


def main(words: list[str]) -> int:
    """Take out what was asked for, one after the other; the number of defences that no test misses."""
    chosen = [each for each in DEFENCES if all(word in each.attack + each.file for word in words)]
    unseen = 0
    sound: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        copy_of(ROOT, tree)
        for defence in chosen:
            failed = take_out(defence, tree)
            if failed and defence.test not in sound:
                # One that fails anyway shows nothing.
                sound[defence.test] = not fails(defence.test, tree)
            said = "NOT SEEN" if not failed else "seen" if sound[defence.test] else "FAILS ANYWAY"
            unseen += said != "seen"
            print(f"{said:13} {defence.attack:45} {defence.test}", flush=True)
    return unseen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
