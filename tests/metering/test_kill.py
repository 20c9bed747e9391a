"""Invariants 1 and 2 for real: a process that is killed while it appends has lost nothing that it acknowledged."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from airserve.metering.ledger import fold
from airserve.storage import tables
from airserve.storage.database import Database

SCRIPT = Path(__file__).parent / "appender.py"
RUNS = 20


def acknowledged_until_killed(folder: Path, run: str, lines: int) -> list[str]:
    """Start the appender, kill it (SIGKILL) after it has acknowledged `lines` calls, and give all it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    with process, contextlib.ExitStack() as always:
        always.callback(process.kill)
        ids = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        ids += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in ids if line.endswith("\n")]


def test_every_call_that_a_killed_process_acknowledged_is_in_the_ledger_exactly_once(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    db = Database.open(tmp_path)
    moments = random.Random(20_240)
    acknowledged: list[str] = []
    for run in range(RUNS):
        acknowledged += acknowledged_until_killed(folder, str(run), moments.randint(1, 1_500))
        if moments.random() < 0.5:
            fold(db, folder)
    fold(db, folder)
    with db.read() as connection:
        ids = Counter(each.removeprefix("ten_a/") for each in connection.scalars(sa.select(tables.usage_events.c.id)))
    db.close()
    assert len(acknowledged) == len(set(acknowledged)) > RUNS
    assert [each for each in acknowledged if ids[each] != 1] == []
    # What was recorded but not yet acknowledged when the process died: at most one batch of each of its two threads.
    assert len(ids) - len(acknowledged) <= RUNS * 2 * 32
