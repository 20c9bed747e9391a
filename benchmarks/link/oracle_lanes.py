"""Lanes: an emulated link with a service and a client of its own each, which play tasks side by side."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from airserve.lab.emulation import Emulation, EmulationWarning
from airserve.lab.link import Link
from airserve.lab.link_files import load_link
from airserve.lab.service_process import PORT, stop
from benchmarks.link.cells import ROOT
from benchmarks.link.oracle_client import Plan, Played, Task

_QUICK = "up=200,down=200,rtt=4"
_START_S = 90.0
AIRSERVE = str(Path(sys.executable).with_name("airserve"))


class Lane:
    """One emulation; `play` puts a link between client and service and plays a task over it, from the link's start."""

    def __init__(self, emulation: Emulation, ready: dict[str, Any]) -> None:
        self._emulation = emulation
        names = {"AIRSERVE_URL": ready["url"], "AIRSERVE_KEY": ready["key"], "AIRSERVE_CA": ready["ca"]}
        self._client = emulation.device.popen(
            [sys.executable, "-m", "benchmarks.link.oracle_client"],
            env={**os.environ, **names, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def plans(self, model: str) -> list[Plan]:
        """What the client could do."""
        self._emulation.set_link(load_link(_QUICK))
        return msgspec.json.decode(self._ask(f"plans {json.dumps(model)}"), type=list[Plan])

    def play(self, task: Task, link: Link) -> list[Played]:
        """The calls."""
        self._emulation.set_link(link)
        return msgspec.json.decode(self._ask(f"play {msgspec.json.encode(task).decode()}"), type=list[Played])

    def close(self) -> None:
        """End the client."""
        self._client.kill()
        self._client.wait()

    def _ask(self, line: str) -> str:
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(line + "\n")
        self._client.stdin.flush()
        answer: str = self._client.stdout.readline()
        if not answer:
            raise RuntimeError(f"the client ended with code {self._client.wait()}")
        return answer


@contextlib.contextmanager
def lanes(count: int, commands: Sequence[Sequence[str]], seed: int) -> Iterator[list[Lane]]:
    """So many lanes; `commands` publish the models."""
    with contextlib.ExitStack() as stack, warnings.catch_warnings(action="ignore", category=EmulationWarning):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airserve-oracle-")))
        first = folder / "state"
        for command in commands:
            environment = {**os.environ, "AIRSERVE_STATE_DIR": str(first)}
            words = [AIRSERVE, *command[1:]]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(words)} failed: {done.stderr or done.stdout}")
        made = []
        for number in range(count):
            state = folder / f"state-{number}"
            shutil.copytree(first, state)
            emulation = stack.enter_context(Emulation(load_link(_QUICK), seed=seed))
            ready = stack.enter_context(_service(emulation, state))
            lane = Lane(emulation, ready)
            stack.callback(lane.close)
            made.append(lane)
        yield made


def share(lanes: Sequence[Lane], tasks: Sequence[tuple[Task, Link]]) -> Iterator[tuple[Task, list[Played]]]:
    """Play all of them, each on the lane that is free; they come as they end."""
    waiting: queue.Queue[tuple[Task, Link]] = queue.Queue()
    done: queue.Queue[tuple[Task, list[Played]] | BaseException] = queue.Queue()
    for each in tasks:
        waiting.put(each)

    def work(lane: Lane) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                task, link = waiting.get_nowait()
                try:
                    done.put((task, lane.play(task, link)))
                except BaseException as error:  # told to who waits for the answer
                    done.put(error)
                    return

    for lane in lanes:
        threading.Thread(target=work, args=(lane,), daemon=True).start()
    for _ in tasks:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        yield found


@contextlib.contextmanager
def _service(emulation: Emulation, state: Path) -> Iterator[dict[str, Any]]:
    ready_file = state.with_suffix(".json")
    command = [AIRSERVE, "up", "--no-demo", "--state-dir", str(state), "--host", emulation.cloud_address, "--port",
               str(PORT), "--ready-file", str(ready_file), "--log-level", "warning"]  # fmt: skip
    process = emulation.cloud.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        waited = threading.Event()
        for _ in range(round(_START_S / 0.1)):
            if ready_file.exists() or process.poll() is not None:
                break
            waited.wait(0.1)
        yield json.loads(ready_file.read_text())
    finally:
        stop(process)
