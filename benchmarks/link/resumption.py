"""How soon frames flow again: a link is cut for five seconds and comes back on another address, many times.

`python -m benchmarks link-resumption [--repeats 20] [--link up=10,down=50,rtt=60] [--http auto]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airserve.cli.demo_service import BehindLink, service_behind
from airserve.lab.link_files import load_link
from airserve.lab.service_process import stop
from benchmarks.report import Table, publish

CUT_S, STEADY_S = 5.0, 1.5
ROOT = Path(__file__).resolve().parents[2]


class Device:
    """A session in the device's network, and all that it prints."""

    def __init__(
        self, behind: BehindLink, rate: float, deadline: float, how: str, client: str = "session_client"
    ) -> None:
        command = [sys.executable, "-m", f"benchmarks.link.{client}", str(rate), str(deadline), how]
        self.process: subprocess.Popen[bytes] = behind.emulation.device.popen(
            command, env=behind.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self.answers: list[dict[str, Any]] = []
        self.end: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for_answers(self, seconds: float = 30.0) -> None:
        """Return once frames flow."""
        ends_at, before = time.monotonic() + seconds, len(self.answers)
        while len(self.answers) < before + 5:
            if time.monotonic() > ends_at or self.process.poll() is not None:
                raise RuntimeError("no frames flow")
            time.sleep(0.02)

    def finish(self) -> dict[str, Any]:
        """End the session: what it counted."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(20)
        self._reader.join()
        if code != 0:
            raise RuntimeError(f"the session's process ended with {code}")
        return self.end

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if "stats" in told:
                self.end = told
            else:
                self.answers.append(told)


def gaps(behind: BehindLink, device: Device, repeats: int, cut_s: float = CUT_S) -> list[float]:
    """Seconds from the link's return on another address to the first answer, for each cut."""
    found = []
    for _ in range(repeats):
        device.wait_for_answers()
        time.sleep(STEADY_S)
        behind.emulation.cut()
        time.sleep(cut_s)
        behind.emulation.restore(new_address(behind))
        restored = time.monotonic()
        device.wait_for_answers()
        found.append(next(each["at"] for each in device.answers if each["at"] > restored) - restored)
    return found


def new_address(behind: BehindLink) -> str:
    """One that the device does not have."""
    return "10.77.0.9" if behind.emulation.device_address != "10.77.0.9" else "10.77.0.10"


def billed(behind: BehindLink) -> int:
    """The calls that cost something, once the journal is folded."""
    command = [sys.executable, "-m", "airserve.cli", "usage", "--state-dir", str(behind.state), "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return sum(int(row["calls"]) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 where the slowest took more than half a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--link", default="up=10,down=50,rtt=60")
    parser.add_argument("--http", default="auto")
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--deadline", type=float, default=0.5)
    asked = parser.parse_args(arguments)
    with service_behind(load_link(asked.link)) as behind:
        device = Device(behind, asked.rate, asked.deadline, asked.http)
        try:
            found = gaps(behind, device, asked.repeats)
            end = device.finish()
        finally:
            stop(device.process)
        time.sleep(1)
        calls = billed(behind)
    frames = {each["frame"] for each in device.answers}
    milliseconds = sorted(1000 * gap for gap in found)
    p95 = milliseconds[max(0, round(0.95 * len(milliseconds)) - 1)]
    print(json.dumps(end))
    row = (
        str(len(found)),
        *(f"{value:.0f}" for value in (statistics.median(milliseconds), p95, milliseconds[-1])),
        *(f"{count:,}" for count in (len(device.answers), len(frames), calls)),
    )
    columns = ("cuts", "first answer p50 ms", "p95 ms", "slowest ms", "answers", "distinct frames", "charged")
    note = (
        f"{CUT_S:g} s each, over {asked.link}, {asked.rate:g} frames a second, HTTP {asked.http}; the device has "
        "another address afterwards. Times are from the link's return. What is charged beyond the answers are frames "
        "whose answers were lost with the link."
    )
    publish("resumption", "Frames after a cut", [Table("A session that is cut", columns, [row], (note,))], [], [])
    return int(milliseconds[-1] > 500)


if __name__ == "__main__":
    sys.exit(main())
