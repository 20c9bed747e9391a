"""Real disks that run full: what was acknowledged stays, what was not leaves no trace, and it goes on by itself."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "full_disk.py"
IN_OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def outcome_of(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_at_the_limit_of_a_files_size_one_batch_is_refused_whole_and_the_journal_goes_on_in_a_new_segment(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "journal"
    result = outcome_of([sys.executable, str(SCRIPT), str(folder), "limit"])
    assert result["found"] == result["recorded"]
    assert len(result["messages"]) == 1 and "usage cannot be recorded (File too large)" in result["messages"][0]
    assert len(list(folder.glob("*.wal"))) > 3
    assert result["recorded"][-1] == "119-15"


def test_on_a_full_disk_calls_are_refused_and_recorded_again_once_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=160k tmpfs {shlex.quote(str(disk))}"
    if (
        not shutil.which("unshare")
        or subprocess.run([*IN_OWN_MOUNTS, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets nobody mount a tmpfs in a user namespace")
    run = shlex.join([sys.executable, str(SCRIPT), str(disk / "journal"), "disk"])
    result = outcome_of([*IN_OWN_MOUNTS, f"{mount} && {run}"])
    assert result["found"] == result["recorded"]
    # Every batch whose work was begun is there: none was computed and then refused.
    assert result["messages"] == []
    assert len(result["recorded"]) == 120 * 16
    assert result["refused"] >= 5
