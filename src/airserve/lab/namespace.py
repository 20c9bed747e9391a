"""One of an emulation's network namespaces: run commands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENTER = Path(__file__).with_name("enter.py")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network of its own with loopback and one way out, the link; files, users and all else are the host's."""

    name: str
    user_fd: int
    network_fd: int

    def popen(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in it. Options are those of `subprocess.Popen`, without `shell` and `executable`.

        The returned process is the command itself. Raises FileNotFoundError where there is no such command.
        """
        command = [str(word) for word in argv]
        path = (options.get("env") or {}).get("PATH")
        if "/" not in command[0] and shutil.which(command[0], path=path) is None:
            raise FileNotFoundError(f"no command {command[0]!r} in the search path")
        fds = [fd for fd in (self.user_fd, self.network_fd) if fd >= 0]
        numbers = [str(number) for number in (os.getpid(), self.user_fd, self.network_fd)]
        enter = [sys.executable, "-I", "-S", str(_ENTER), *numbers]
        options["pass_fds"] = (*options.get("pass_fds", ()), *fds)
        return subprocess.Popen([*enter, *command], **options)

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, timeout: float | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end, and return its exit code and, as text, its output and errors.

        Raises CalledProcessError where it fails, unless `check` is false; TimeoutExpired after `timeout` seconds.
        """
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        with self.popen(argv, **options) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(argv), output, errors)
        return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)
