"""One process with the operator's class in it, as the serving process sees it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.engines.options import Python, Source
from airserve.engines.python_messages import Answer, Channel, Done, Failed, Load, Ready, Run
from airserve.engines.shared_tensors import Segment

log = structlog.get_logger("airserve.engines.python")

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_LINE_BYTES = 2000


class ProcessEndedError(Exception):
    """The process has ended, or was ended, without an answer; the text says which."""


class ModelProcess:
    """A process from its start to its end. `call` may be used by one thread at a time, `end` and `wait` by any.

    `replaced` is set by whoever starts its successor, once that can be called or did not start.
    """

    def __init__(self, source: Source, options: Python) -> None:
        """Start the process; `load` must follow, from any thread.

        The kernel ends the process with the thread that calls this, so the thread must live as long.
        """
        self.ended = False
        self.replaced = threading.Event()
        self._source, self._options = source, options
        self._using = threading.Lock()
        self._ending = threading.Lock()
        environment = environment_of(options)
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._inputs, self._outputs = Segment.create("airserve-inputs"), Segment.create("airserve-outputs")
        inherited = (theirs.fileno(), self._inputs.fd, self._outputs.fd)
        with theirs:
            self._process = subprocess.Popen(
                # Nothing is imported from the working folder, and no bytecode is written into the package.
                [interpreter(), "-P", "-B", "-u", "-m", "airserve.engines.python_worker"]
                + [str(number) for number in (*inherited, os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                pass_fds=inherited,
                process_group=0,
            )
        self.pid = self._process.pid
        threading.Thread(target=self._log_output, name=f"output-{self.pid}", daemon=True).start()

    def load(self) -> None:
        """Import the file, make the object and load it. Raises `BadPackageError` with the reason."""
        options, source = self._options, self._source
        memory = None if options.memory_mb is None else options.memory_mb << 20
        request = Load(str(source.folder), source.file, options.attribute, memory)
        try:
            answer = self._ask(request, options.load_timeout_ms)
        except ProcessEndedError as error:
            raise BadPackageError(f"{source.file} was not loaded: {error}; what it printed is in the log") from None
        if not isinstance(answer, Ready):
            self.end()
            text = answer.text if isinstance(answer, Failed) else "it answered before it was asked"
            raise BadPackageError(f"{source.file} cannot be loaded: {text}")

    def call(self, inputs: Tensors) -> Tensors:
        """What `predict` gives for a batch; its names, shapes and dtypes are not checked yet.

        Raises `ProcessEndedError`, `InvalidInputError` where the code itself refuses the input, `ModelFailedError`
        where it fails.
        """
        with self._using:
            answer = self._ask(Run(self._inputs.write(inputs)), self._options.timeout_ms)
            if isinstance(answer, Done):
                try:
                    return self._outputs.read(answer.tensors, copy=True)
                except InvalidInputError:
                    answer = Ready()
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

    def _ask(self, request: Load | Run, timeout_ms: int) -> Answer:
        try:
            self._channel.send(request)
            answer: Answer = self._channel.receive(Answer, timeout_ms / 1000)  # type: ignore[arg-type]  # a union
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
        """What the code prints goes to the log, a line at a time."""
        output = self._process.stdout
        assert output is not None, "it was asked for"  # noqa: S101
        with output:
            while line := output.readline(_LINE_BYTES):
                text = line.decode("utf-8", "replace").rstrip()
                log.info("model output", model=self._source.model, pid=self.pid, text=text)


def environment_of(options: Python) -> dict[str, str]:
    """PATH and what the manifest gives; a value `$NAME` is that of the serving process.

    Raises `BadPackageError` for a name that is not set there.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    for name, value in options.environment.items():
        match = _VARIABLE.fullmatch(value)
        if match is None:
            environment[name] = value
        elif match[1] in os.environ:
            environment[name] = os.environ[match[1]]
        else:
            raise BadPackageError(
                f"the model wants {name} from {value}, which is not set where the service runs; set it there"
            )
    return environment


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
