"""`airserve` commands in forks of one process that has imported all they need: a start of their own takes a second.

A fork has its own output, folder and exit code, as a process that was started would have. The tests of `cli` and the
pages of the documentation start the installed command itself.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

# What commands import while they run. None of these starts a thread, which a fork would lack.
_IMPORTED = (
    "airserve.accounts",
    "airserve.cli.training",
    "airserve.models.catalog",
    "airserve.server.installation",
    "airserve.server.settings",
    "airserve.storage",
    "alembic.command",
    "onnx",
    "onnxruntime",
    "sklearn.datasets",
)
_SECONDS = 120
_servers: list[tuple[subprocess.Popen[bytes], Path]] = []


def run(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `airserve` with `arguments`; its exit code and what it wrote. May be called from several threads."""
    request = {
        "arguments": arguments,
        "folder": str(cwd or Path.cwd()),
        "environment": {**os.environ, **(environment or {})},
    }
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as errors,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(_SECONDS)
        connection.connect(str(_address()))
        socket.send_fds(connection, [b"\0"], [out.fileno(), errors.fileno()])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        code = connection.recv(16)
        out.seek(0)
        errors.seek(0)
        # A process that was killed says nothing.
        return subprocess.CompletedProcess(("airserve", *arguments), int(code or b"-9"), out.read(), errors.read())


def stop() -> None:
    """End the process that forks, if there is one."""
    for process, address in _servers:
        process.kill()
        process.wait()
        address.unlink(missing_ok=True)
        address.parent.rmdir()
    _servers.clear()


def _address() -> Path:
    if not _servers:
        address = Path(tempfile.mkdtemp(prefix="airserve-commands-")) / "socket"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands", str(address)], cwd=Path(__file__).resolve().parents[1]
        )
        _servers.append((process, address))
    process, address = _servers[0]
    end = time.monotonic() + _SECONDS
    while not address.exists():
        assert process.poll() is None and time.monotonic() < end, "the process that forks did not start"
        time.sleep(0.02)
    return address


def _serve(address: Path) -> None:
    from airserve.cli.app import _NOUNS

    for name in (*(f"airserve.cli.{noun}" for noun in _NOUNS), *_IMPORTED):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        new = address.with_suffix(".new")
        listener.bind(str(new))
        listener.listen(64)
        # It is there only once it listens.
        new.rename(address)
        # It ends with the tests, also where those are killed.
        tests = os.getppid()
        listener.settimeout(5)
        while os.getppid() == tests:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Be the command, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, (out, errors), _, _ = socket.recv_fds(connection, 1, 2)
    request = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    os.dup2(out, 1)
    os.dup2(errors, 2)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["airserve", *request["arguments"]]
    code = 1
    try:
        from airserve.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(b"%d" % code)
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
