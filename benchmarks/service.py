"""The service under measurement, and its peer, as processes of their own on loopback ports."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 20.0
_ROOT = Path(__file__).resolve().parent.parent
_COMMAND = Path(sys.executable).with_name("airserve")


@dataclass(frozen=True, slots=True)
class Publication:
    """A model to publish before the service starts; `max_batch` of None leaves the default."""

    name: str
    file: Path
    max_batch: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Where a started service answers, and how to call it."""

    url: str
    http_url: str
    ca: str
    key: str
    pid: int


@contextlib.contextmanager
def airserve(
    publications: Sequence[Publication], prepare: Callable[[Path], None] = lambda state: None
) -> Iterator[Service]:
    """A service with these models, in a state folder of its own that goes when it stops.

    `prepare` may do more to the state folder before it starts.
    """
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        state = Path(folder) / "state"
        for publication in publications:
            _publish(state, publication)
        prepare(state)
        ready_file = Path(folder) / "ready.json"
        command: list[str | Path] = [_COMMAND, "up", "--state-dir", state, "--port", "0", "--ready-file", ready_file]
        with _process([*command, "--no-demo", "--log-level", "warning"], Path(folder) / "log") as process:
            _wait(process, ready_file.exists)
            ready = json.loads(ready_file.read_text())
            missing = {publication.name for publication in publications} - set(ready["models"])
            if missing:
                raise RuntimeError(f"the service is up without the models {', '.join(sorted(missing))}")
            yield Service(ready["url"], ready["http_url"], ready["ca"], ready["key"], ready["pid"])


@contextlib.contextmanager
def fastapi_peer(model: Path) -> Iterator[Service]:
    """The hand-written FastAPI application with this model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.peer_fastapi", model, str(port)]
        with _process(command, Path(folder) / "log") as process:
            _wait(process, lambda: _listens(port))
            url = f"http://127.0.0.1:{port}"
            yield Service(url, url, "", "", process.pid)


def _publish(state: Path, publication: Publication) -> None:
    command: list[str | Path] = [
        _COMMAND,
        "publish",
        publication.file,
        "--name",
        publication.name,
        "--state-dir",
        state,
    ]
    if publication.max_batch is not None:
        command += ["--max-batch", str(publication.max_batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"airserve publish failed: {done.stderr or done.stdout}")


@contextlib.contextmanager
def _process(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until the block ends; its complaints are part of the error if anything goes wrong.

    What it prints otherwise is dropped: it holds keys.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
        )
    try:
        yield process
    except BaseException as error:
        error.add_note(f"the last messages of {Path(command[0]).name}:\n{log.read_text(errors='replace')[-2000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None:
            raise RuntimeError(f"it ended with code {process.returncode} before it was ready")
        if time.monotonic() > give_up:
            raise RuntimeError(f"it was not ready after {START_SECONDS:.0f} s")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
