"""A service behind an emulated link as a process: its environment, when it is ready, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from airserve.core.errors import UnreachableError

PORT = 8443
_STOP_S = 20.0


def own_environment() -> dict[str, str]:
    """This process's, with the commands of this Python's folder first, and without settings for other services."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRSERVE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Neither network has a name server: who asks for one hears so in a second and not after ten (resolv.conf(5)).
    return {**kept, "PATH": path, "RES_OPTIONS": "timeout:1 attempts:1"}


def wait_until_ready(process: subprocess.Popen[Any], ready_file: Path, seconds: float, log: Path) -> dict[str, Any]:
    """What the service says in its ready file. Raises UnreachableError, with its last words, where it says nothing."""
    end = time.monotonic() + seconds
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > end:
            why = "ended" if process.poll() is not None else f"was not ready after {seconds:g} s"
            raise UnreachableError(f"the service {why}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process, by force where it takes long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
