"""A service of its own behind an emulated link, for demonstrations and measurements: it goes when they end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airserve.lab.emulation import Emulation, EmulationWarning
from airserve.lab.link import Link
from airserve.lab.service_process import PORT, own_environment, stop, wait_until_ready

_STARTS_WITHIN_S = 90.0


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
            "--port", str(PORT), "--ready-file", ready_file, "--log-level", "warning",
        ]  # fmt: skip
        environment = own_environment()
        process = emulation.cloud.popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            ready = wait_until_ready(process, ready_file, _STARTS_WITHIN_S, Path(log.name))
            told = {f"AIRSERVE_{name.upper()}": str(ready[name]) for name in ("url", "key", "ca")}
            yield BehindLink(emulation, ready, state, {**environment, **told})
        finally:
            stop(process)
