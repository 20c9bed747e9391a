"""One process with a model in it, as the serving process sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.engines.python_messages import Channel, Done, Failed, Ready, Run
from airserve.engines.shared_tensors import Placed, Segment

log = structlog.get_logger("airserve.engines.process")

_LINE_BYTES = 2000


class ProcessEndedError(Exception):
    """The process has ended, or was ended, without an answer; the text says which."""


@dataclass(frozen=True, slots=True)
class Start:
    """How the process of a model starts: the module of ours that it runs, and the first request to it.

    `environment` is all that it sees; `answers` are the messages that it may send, a union; `file` is what it loads and
    `model` the model's name, for people; `descriptors` are the open files that it inherits.
    """

    module: str
    load: msgspec.Struct
    answers: Any
    environment: Mapping[str, str]
    file: str
    model: str
    timeout_ms: int
    load_timeout_ms: int
    descriptors: tuple[int, ...] = ()


class ModelProcess:
    """A process from its start to its end. `call` may be used by one thread at a time, `end` and `wait` by any.

    `replaced` is set by whoever starts its successor, once that can be called or did not start; `greeting` is what it
    said when it had loaded, None until then.
    """

    def __init__(self, start: Start) -> None:
        """Start the process; `load` must follow, from any thread.

        The kernel ends the process with the thread that calls this, so the thread must live as long.
        """
        self.ended = False
        self.replaced = threading.Event()
        self.greeting: Ready | None = None
        self._start = start
        self._using = threading.Lock()
        self._ending = threading.Lock()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._inputs, self._outputs = Segment.create("airserve-inputs"), Segment.create("airserve-outputs")
        inherited = (theirs.fileno(), self._inputs.fd, self._outputs.fd)
        with theirs:
            self._process = subprocess.Popen(
                # Nothing is imported from the working folder, and no bytecode is written into the package.
                [interpreter(), "-P", "-B", "-u", "-m", start.module]
                + [str(number) for number in (*inherited, os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(start.environment),
                cwd="/",
                pass_fds=(*inherited, *start.descriptors),
                process_group=0,
            )
        self.pid = self._process.pid
        threading.Thread(target=self._log_output, name=f"output-{self.pid}", daemon=True).start()

    def load(self) -> None:
        """Have the process load its model. Raises `BadPackageError` with the reason."""
        start = self._start
        try:
            answer = self._ask(start.load, start.load_timeout_ms)
        except ProcessEndedError as error:
            raise BadPackageError(f"{start.file} was not loaded: {error}; what it printed is in the log") from None
        if not isinstance(answer, Ready):
            self.end()
            text = answer.text if isinstance(answer, Failed) else "it answered before it was asked"
            raise BadPackageError(f"{start.file} cannot be loaded: {text}")
        self.greeting = answer

    def call(self, inputs: Tensors, request: Callable[[list[Placed]], msgspec.Struct] = Run) -> tuple[Tensors, Done]:
        """The tensors that the process gives for a batch, not checked yet, and the message that came with them.

        `request` makes the message from where the inputs lie.
        Raises `ProcessEndedError`, `InvalidInputError` where the model itself refuses the input, `ModelFailedError`
        where it fails.
        """
        with self._using:
            answer = self._ask(request(self._inputs.write(inputs)), self._start.timeout_ms)
            if isinstance(answer, Done):
                with suppress(InvalidInputError):
                    return self._outputs.read(answer.tensors, copy=True), answer
            if isinstance(answer, Failed):
                raise _failure(answer)
            self.end()
            raise ProcessEndedError("it answered nonsense")

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        with self._ending:
            if self._process.returncode is not None:
                return False
            with suppress(ChildProcessError):
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        return False

    def end(self) -> None:
        """Kill the process and what it started."""
        with self._ending:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ask the process to end, which it does unless it is busy."""
        self._channel.hang_up()

    def wait(self) -> None:
        """Block until the process has ended; what it started is killed with it."""
        with suppress(ChildProcessError):
            # Left unreaped for the moment, so that its number is not given to another process.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self.end()
        with self._ending:
            self._process.wait()

    def clean_up(self) -> None:
        """Give back what belonged to the process, once it has ended and nobody will call it any more."""
        with self._using:
            self._channel.close()
            self._inputs.close()
            self._outputs.close()

    def _ask(self, request: msgspec.Struct, timeout_ms: int) -> msgspec.Struct:
        try:
            self._channel.send(request)
            answer: msgspec.Struct = self._channel.receive(self._start.answers, timeout_ms / 1000)
        except TimeoutError:
            self.end()
            raise ProcessEndedError(f"it did not answer within {timeout_ms} ms") from None
        except (OSError, EOFError):
            self.end()
            raise ProcessEndedError("its process ended") from None
        except ValueError:
            self.end()
            raise ProcessEndedError("it answered nonsense") from None
        return answer

    def _log_output(self) -> None:
        """What it prints goes to the log, a line at a time."""
        output = self._process.stdout
        assert output is not None, "it was asked for"  # noqa: S101
        with output:
            while line := output.readline(_LINE_BYTES):
                text = line.decode("utf-8", "replace").rstrip()
                log.info("model output", model=self._start.model, pid=self.pid, text=text)


def interpreter() -> str:
    """The Python of this environment; inside the front `sys.executable` names another one."""
    own = Path(sys.prefix) / "bin" / "python3"
    return str(own) if own.exists() else sys.executable


def _failure(failed: Failed) -> Exception:
    if failed.how == "refused":
        return InvalidInputError(failed.text)
    if failed.how == "raised":
        return ModelFailedError(f"the model failed on this input: {failed.text}")
    return ModelFailedError(f"the model's answer is no answer: {failed.text}")
