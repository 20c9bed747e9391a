"""A service of its own behind an emulated link, for demonstrations and measurements: it goes when they end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airserve.core.errors import UnreachableError
from airserve.lab.emulation import Emulation, EmulationWarning
from airserve.lab.link import Link

_PORT = 8443
_STARTS_WITHIN_S = 90.0
_STOPS_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class BehindLink:
    """The link, what the service said in its ready file, its state folder, and an environment for its clients."""

    emulation: Emulation
    ready: dict[str, Any]
    state: Path
    environment: dict[str, str]


@contextlib.contextmanager
def service_behind(link: Link, *, seed: int = 0, state: Path | None = None) -> Iterator[BehindLink]:
    """A service with the model `digits` in `cloud`; clients are started in `emulation.device`.

    `state` is a state folder to use, with what is published in it. Raises `CannotEmulateError` and `UnreachableError`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="airserve-demo-") as folder,
        warnings.catch_warnings(action="ignore", category=EmulationWarning),
        Emulation(link, seed=seed) as emulation,
        (Path(folder) / "service.log").open("w+b") as log,
    ):
        state = state or Path(folder) / "state"
        ready_file = Path(folder) / "ready.json"
        command: list[str | Path] = [
            sys.executable, "-m", "airserve.cli", "up", "--state-dir", state, "--host", emulation.cloud_address,
            "--port", str(_PORT), "--ready-file", ready_file, "--log-level", "warning",
        ]  # fmt: skip
        environment = _environment()
        process = emulation.cloud.popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            ready = _wait(process, ready_file, Path(log.name))
            told = {f"AIRSERVE_{name.upper()}": str(ready[name]) for name in ("url", "key", "ca")}
            yield BehindLink(emulation, ready, state, {**environment, **told})
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process, by force where it takes long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[Any], ready_file: Path, log: Path) -> dict[str, Any]:
    ends_at = time.monotonic() + _STARTS_WITHIN_S
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > ends_at:
            raise UnreachableError(f"the service did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


def _environment() -> dict[str, str]:
    """This process's, without settings for other services."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRSERVE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Neither network has a name server: who asks for one hears so in a second and not after ten (resolv.conf(5)).
    return {**kept, "PATH": path, "RES_OPTIONS": "timeout:1 attempts:1"}
