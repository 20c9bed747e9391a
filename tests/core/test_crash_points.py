from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
from airserve.core.crash_points import crash_point
for number in range(10):
    crash_point("elsewhere")
    print(number, flush=True)
    crash_point("here")
"""


def run(value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: each for name, each in os.environ.items() if name != "AIRSERVE_CRASH_POINT"}
    if value is not None:
        environment["AIRSERVE_CRASH_POINT"] = value
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(("value", "printed"), [("here", 1), ("here:1", 1), ("here:4", 4), ("elsewhere:3", 2)])
def test_a_process_dies_at_the_named_place_at_the_named_pass(value: str, printed: int) -> None:
    done = run(value)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.splitlines()) == printed


@pytest.mark.parametrize("value", [None, "", "nowhere:1"])
def test_without_a_name_or_with_that_of_no_place_nothing_happens(value: str | None) -> None:
    done = run(value)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 10)
