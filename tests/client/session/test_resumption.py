"""A session whose link is lost and comes back on another address."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airserve.cli.demo_service import service_behind, stop
from airserve.lab.emulation import missing
from airserve.lab.link_files import load_link
from tests.conftest import copy_first_state

LACKS = missing()
pytestmark = [pytest.mark.server, pytest.mark.skipif(bool(LACKS), reason="; ".join(LACKS))]

CUT_S, FLOWS_AGAIN_S = 1.5, 5.0
DEVICE = """
import json, os, sys, threading, time
import numpy as np
from airserve import Client

over, random = threading.Event(), np.random.default_rng(1)
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
told = lambda answer: print(json.dumps({"at": time.monotonic(), "frame": answer.frame}), flush=True)
client = Client(os.environ["AIRSERVE_URL"], os.environ["AIRSERVE_KEY"], ca=os.environ["AIRSERVE_CA"])
with client, client.session("digits", rate=20, deadline=1.0, on_answer=told) as session:
    while not over.is_set():
        session.send({"x": random.random((1, 64), np.float32)})
        time.sleep(0.05)
    session.drain(2)
    time.sleep(0.2)
    stats = session.stats
    print(json.dumps({name: getattr(stats, name) for name in stats.__slots__}), flush=True)
"""


def test_frames_flow_again_on_another_address_and_none_is_charged_twice(tmp_path: Path) -> None:
    copy_first_state(tmp_path / "state")
    with service_behind(load_link("up=10,down=50,rtt=40"), state=tmp_path / "state") as behind:
        lines: list[dict[str, Any]] = []
        process = behind.emulation.device.popen(
            [sys.executable, "-c", DEVICE], env=behind.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        try:
            _wait(lambda: len(lines) >= 10)
            behind.emulation.cut()
            time.sleep(CUT_S)
            before = len(lines)
            behind.emulation.restore("10.77.0.9")
            restored = time.monotonic()
            _wait(lambda: len(lines) >= before + 10)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
            reader.join()
        finally:
            stop(process)
        billed = _billed(behind.state)
    *answers, stats = lines
    first = next(each["at"] for each in answers if each["at"] > restored)
    assert first - restored < FLOWS_AGAIN_S
    frames = [each["frame"] for each in answers]
    assert len(frames) == len(set(frames)) == stats["answered"]
    assert stats["resumptions"] == 1
    assert CUT_S < stats["outage_s"] < CUT_S + FLOWS_AGAIN_S
    # What the service answered just as the link went is charged and never came; nothing is charged twice.
    assert len(billed) == len(set(billed))
    assert stats["answered"] <= len(billed) <= stats["answered"] + 4


def _read(process: subprocess.Popen[bytes], lines: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    lines.extend(json.loads(line) for line in process.stdout)


def _wait(reached: Any) -> None:
    ends_at = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < ends_at, "no frames flow"
        time.sleep(0.02)


def _billed(state: Path) -> list[str]:
    """The ids of the calls that were answered, one for each usage event."""
    command = [sys.executable, "-m", "airserve.cli", "usage", "export", "--state-dir", str(state)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event["id"] for event in events if event["data"]["outcome"] == "ok"]
