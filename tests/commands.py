"""`airserve` commands in forks of one process that has imported all they need: a start of their own takes a second.

A fork has its own output, folder and exit code, as a process that was started would have. The tests of `cli` start the
installed command itself; so do the pages of the documentation, for commands that others wait for or kill.
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
# Commands that run until they are stopped, or that start others in namespaces of their own.
_ITSELF = ("up", "lab", "demo")
_COMMAND = """
import os, sys
if sys.argv[1:2] and sys.argv[1] in VALUES["itself"]:
    os.execv(VALUES["installed"], [VALUES["installed"], *sys.argv[1:]])
import json, socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(VALUES["address"])
    socket.send_fds(connection, [b"\\0"], [0, 1, 2])
    request = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
    connection.sendall(json.dumps(request).encode())
    connection.shutdown(socket.SHUT_WR)
    sys.exit(int(connection.recv(16) or b"137"))
"""
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
        Path(os.devnull).open() as nothing,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as errors,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(_SECONDS)
        connection.connect(str(_address()))
        socket.send_fds(connection, [b"\0"], [nothing.fileno(), out.fileno(), errors.fileno()])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        code = connection.recv(16)
        out.seek(0)
        errors.seek(0)
        # A process that was killed says nothing.
        return subprocess.CompletedProcess(("airserve", *arguments), int(code or b"-9"), out.read(), errors.read())


def install(folder: Path) -> None:
    """Write a command `airserve` into `folder` that is a fork, but for those of `_ITSELF`."""
    command = folder / "airserve"
    installed = Path(sys.executable).with_name("airserve")
    values = {"address": str(_address()), "installed": str(installed), "itself": _ITSELF}
    command.write_text(f"#!{sys.executable} -IS\nVALUES = {values!r}\n{_COMMAND}")
    command.chmod(0o755)


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
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
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
