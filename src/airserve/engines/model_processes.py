"""The processes of one model: started, waited for, replaced when they end.

Each process runs one batch at a time. One that ends, or has to be ended, fails the batch that it had and no other: a
thread that waits for its end starts the next one at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import msgspec
import structlog

from airserve.core.call import Tensors
from airserve.core.errors import AirserveError, BadPackageError, ModelLostError, OverloadedError
from airserve.engines.model_process import ModelProcess, ProcessEndedError, Start
from airserve.engines.python_messages import Done, Ready, Run
from airserve.engines.shared_tensors import Placed

log = structlog.get_logger("airserve.engines.process")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_FAREWELL_S = 2.0


class ModelProcesses:
    """`workers` processes with the same model; `call` takes one that is free, and waits while none is."""

    def __init__(self, start: Start, workers: int) -> None:
        """Start every process and wait until they have loaded. Raises `BadPackageError` if one cannot."""
        self._how = start
        self._changed = threading.Condition()
        self._free: list[ModelProcess] = []
        self._running: dict[int, ModelProcess] = {}
        self._failing: dict[int, str] = {}
        self._closing = threading.Event()
        self._keepers = [
            threading.Thread(target=self._keep, args=(number,), name=f"process-{number}", daemon=True)
            for number in range(workers)
        ]
        for keeper in self._keepers:
            keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: self._failing or len(self._free) == workers)
            problem = next(iter(self._failing.values()), None)
        if problem is not None:
            self.close()
            raise BadPackageError(problem)

    def call(self, inputs: Tensors, request: Callable[[list[Placed]], msgspec.Struct] = Run) -> tuple[Tensors, Done]:
        """See `ModelProcess.call`; raises `ModelLostError` where the process ended, or had to be ended."""
        process = self._take()
        try:
            return process.call(inputs, request)
        except ProcessEndedError as error:
            process.ended = True
            log.error("a model's process was lost", model=self._how.model, pid=process.pid, reason=str(error))
            raise ModelLostError(
                f"the model's process did not finish this call ({error}); it is being replaced",
                retry_after=1.0,
                replaced=process.replaced,
            ) from None
        finally:
            self._give_back(process)

    def greetings(self) -> list[Ready]:
        """What each process that has loaded said then."""
        with self._changed:
            return [process.greeting for process in self._running.values() if process.greeting is not None]

    def close(self) -> None:
        """Let the processes end by themselves; kill those that do not."""
        self._closing.set()
        with self._changed:
            running = list(self._running.values())
            self._changed.notify_all()
        for process in running:
            process.close()
        for keeper in self._keepers:
            keeper.join(_FAREWELL_S)
        for process in running:
            process.end()
        for keeper in self._keepers:
            keeper.join()

    def _take(self) -> ModelProcess:
        with self._changed:
            while True:
                # One that has ended may be here for as long as its keeper has not yet noticed.
                while self._free:
                    process = self._free.pop()
                    if process.is_running():
                        return process
                if self._closing.is_set() or len(self._failing) == len(self._keepers):
                    raise OverloadedError("the model's process does not start; it is tried again", retry_after=1.0)
                self._changed.wait()

    def _give_back(self, process: ModelProcess) -> None:
        with self._changed:
            if not process.ended:
                self._free.append(process)
                self._changed.notify()

    def _keep(self, number: int) -> None:
        """Keep one process running: start it, wait for its end, start the next. Ends with `close`."""
        former: ModelProcess | None = None
        failures = 0
        while not self._closing.is_set():
            process = self._start(number)
            if former is not None:
                former.replaced.set()
            if process is None:
                # One that cannot be loaded now may be later, but not for the whole of a processor.
                self._closing.wait(min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S))
                failures = min(failures + 1, 16)
                continue
            failures = 0
            self._wait(number, process)
            former = process
        if former is not None:
            former.replaced.set()

    def _start(self, number: int) -> ModelProcess | None:
        process: ModelProcess | None = None
        try:
            process = ModelProcess(self._how)
            with self._changed:
                self._running[number] = process
            if self._closing.is_set():
                process.end()
            process.load()
        except (AirserveError, OSError) as error:
            if process is not None:
                process.end()
                self._wait(number, process)
            if not self._closing.is_set():
                log.error("a model's process does not start", model=self._how.model, reason=str(error))
            with self._changed:
                self._failing[number] = str(error)
                self._changed.notify_all()
            return None
        with self._changed:
            self._failing.pop(number, None)
            self._free.append(process)
            self._changed.notify_all()
        return process

    def _wait(self, number: int, process: ModelProcess) -> None:
        process.wait()
        with self._changed:
            process.ended = True
            with suppress(ValueError):
                self._free.remove(process)
            del self._running[number]
        process.clean_up()


def started(folder: ExitStack, workers: int, start: Start) -> ModelProcesses:
    """The processes; `folder` is given back where they do not start."""
    try:
        return ModelProcesses(start, workers)
    except BaseException:
        folder.close()
        raise
