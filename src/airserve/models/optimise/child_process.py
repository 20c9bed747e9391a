"""Run one of our modules in a fresh process, which is told what to do on its input and answers on its output."""

from __future__ import annotations

import os
import subprocess

from airserve.core.errors import AirserveError
from airserve.engines.model_process import interpreter


def run_module(name: str, message: bytes, *, seconds: float, what: str) -> subprocess.CompletedProcess[bytes]:
    """What `python -m airserve.models.optimise.NAME` answered to `message`, however it ended; `what` says what it does.

    It ends with this process, and sees nothing of its environment. Raises `subprocess.TimeoutExpired` after `seconds`.
    """
    try:
        return subprocess.run(
            [interpreter(), "-P", "-B", "-m", f"airserve.models.optimise.{name}", str(os.getpid())],
            input=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise AirserveError(f"the process that {what} cannot start: {error.strerror}") from None
