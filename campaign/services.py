"""Whole services, `airserve up`, killed in each way that a machine can do it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from campaign.house import House
from campaign.load import Place

AIRSERVE = Path(sys.executable).with_name("airserve")
START_S = 60.0
WHOM = ("serving", "supervisor", "both")


class Service:
    """A running `airserve up`; `crash` lets one of its processes die at a crash point."""

    def __init__(self, house: House, crash: str | None = None) -> None:
        self._ready = house.state_dir.parent / "ready.json"
        self._ready.unlink(missing_ok=True)
        with house.environment() as environment, (house.state_dir.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    AIRSERVE,
                    "up",
                    "--state-dir",
                    house.state_dir,
                    "--port",
                    "0",
                    "--no-demo",
                    "--ready-file",
                    self._ready,
                ],
                stdout=log,
                stderr=log,
                env=environment | ({"AIRSERVE_CRASH_POINT": crash} if crash else {}),
            )

    def place(self) -> Place | None:
        """Where it answers, once it does; None where it died before."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                url = urlsplit(json.loads(self._ready.read_text())["http_url"])
                return Place((url.hostname or "", url.port or 0))
            time.sleep(0.01)
        return None

    def kill(self, whom: str) -> None:
        """Kill (SIGKILL) the serving process, the supervisor, or both at once, and wait until all have ended."""
        serving = self._children()
        targets = {"serving": serving, "supervisor": [self.process.pid], "both": [self.process.pid, *serving]}[whom]
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait(30)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in serving) and time.monotonic() < end:
            time.sleep(0.005)

    def wait(self, seconds: float) -> bool:
        """Whether the supervisor ended by itself within `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _children(self) -> list[int]:
        """The processes below the supervisor, as the kernel lists them."""
        found, below = [], [self.process.pid]
        while below:
            for task in Path(f"/proc/{below.pop()}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    pids = [int(pid) for pid in task.read_text().split()]
                    found += pids
                    below += pids
        return found
