"""Runs a copy of some calls through the other version of a rollout, and compares the answers.

In the shadow stage calls of the old version are copied for the new one; later, when the new one answers, its calls for
the old one. Of a call of many rows one is copied, in turn: rows of one call are much alike, and each sample is to be
one call. Nothing of a copy is billed or journaled, and nobody waits for it:

- the best variants that the two versions serve are compared, and no others;
- what there is no time for is dropped: few copies wait, and none for long. The first of a rollout are not, however
  busy the machine: while as many wait as were compared, nobody is led to the new version (`is_behind`);
- it is run by weights of its own on one thread of the lowest priority, so the deployment's threads never wait for it;
- none begins while calls of the copied version wait, and between two the thread rests as long as one took, and longer
  once a stage has seen some hundreds.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from airserve.core.call import Array, Call, Reply, Tensors
from airserve.engines import Model
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants
from airserve.serving.deployment import Deployment
from airserve.serving.rollout.agreement import agrees
from airserve.serving.version import Version

log = structlog.get_logger("airserve.serving")

_WAITING = 16
_AHEAD = 4
"""So many answers may be ahead of those compared from the begin on."""

_LARGEST_BYTES = 8 << 20
_STALE_NS = 1_000_000_000
_LOOK_AGAIN_S, _LATEST_LOOK_S = 0.002, 0.064
"""How long until it looks again whether calls wait: longer each time, for each look takes the interpreter from them."""
_LONGEST_REST_S = 0.25
_EAGER, _LATER_REST_S = 300, 0.05
"""The first answers of a stage decide most; after so many, twenty a second tell of what changes."""
_LEAST_PRIORITY = 19


@dataclass(frozen=True, slots=True)
class _Copy:
    """One row of a call, and how it was answered."""

    inputs: Tensors
    outputs: Tensors
    taken_ns: int


class Shadow:
    """Runs copies of the calls of `copied` through `other`, and tells `compared` of each: whether the answers agree,
    None where `other` failed. `known` answers of the rollout were compared before."""

    def __init__(
        self, copied: Version, other: DeploymentSpec, compared: Callable[[bool | None], None], known: int = 0
    ) -> None:
        self._copied = copied
        self._other = other
        self._compared = compared
        self._best = copied.spec.manifest.best.name
        self._waiting: queue.Queue[_Copy] = queue.Queue(_WAITING)
        self._stopped = threading.Event()
        self._loaded = threading.Event()
        self._taken = self._told = 0
        self._compared_ever = known
        self.failed = ""
        self._thread = threading.Thread(target=self._work, name=f"shadow-{other.model}-{other.version}", daemon=True)
        copied.taps.add(self._take)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether copies can be run."""
        return self._loaded.is_set()

    def is_behind(self) -> bool:
        """Whether so few answers were compared that no more should be given until some are.

        So a bad version answers as few calls on a machine that leaves this thread no time as on an idle one. After the
        first comparisons it is false for good: a tenant whom the new version answers is not to be led back and forth.
        """
        return self._waiting.qsize() >= max(_AHEAD, self._compared_ever)

    def hurry(self) -> None:
        """Something has changed: the next answers decide again."""
        self._told = 0

    def stop(self) -> None:
        """Copy no more calls. Does not wait for the one that runs."""
        self._copied.taps.remove(self._take)
        self._stopped.set()

    def join(self) -> None:
        """Wait until the weights are gone."""
        self._thread.join()

    def _take(self, call: Call, reply: Reply) -> None:
        """The tap: keep a copy of one row, where there is room."""
        if self._waiting.full() or reply.variant not in ("", self._best):
            # A smaller variant, in a rush, differs anyway.
            return
        row = self._taken % call.rows if self._copied.signature.max_batch else None
        inputs, outputs = _row_of(call.inputs, row), _row_of(reply.outputs, row)
        if sum(array.nbytes for array in (*inputs.values(), *outputs.values())) > _LARGEST_BYTES:
            return
        self._taken += 1
        try:
            self._waiting.put_nowait(_Copy(inputs, outputs, time.monotonic_ns()))
        except queue.Full:
            return

    def _work(self) -> None:
        if hasattr(os, "setpriority"):
            # Of this thread alone, on Linux; processes that the engine starts inherit it.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
        spec = self._other
        try:
            loaded = LoadedVariants(spec, threads=1)
            model = loaded.best()
        except Exception as error:
            self.failed = f"version {spec.version} cannot be loaded a second time: {error}"
            log.error("no answers are compared", model=spec.model, version=spec.version, reason=str(error))
            return
        self._loaded.set()
        try:
            while not self._stopped.is_set():
                self._next(model)
        finally:
            loaded.close()

    def _next(self, model: Model) -> None:
        try:
            copy = self._waiting.get(timeout=0.1)
        except queue.Empty:
            return
        pause_s = _LOOK_AGAIN_S
        while self._backlog() and not self._stopped.wait(pause_s):
            pause_s = min(2 * pause_s, _LATEST_LOOK_S)
        began_ns = time.monotonic_ns()
        if self._compared_ever >= _WAITING and began_ns - copy.taken_ns > _STALE_NS:
            return
        try:
            answer = model.run(copy.inputs)
        except Exception as error:
            # Which input that was stays with its tenant.
            log.warning("a copied call failed", model=self._other.model, version=self._other.version,
                        reason=type(error).__name__)  # fmt: skip
            agreed = None
        else:
            agreed = agrees(self._other.manifest, answer, copy.outputs)
        if not self._stopped.is_set():
            self._compared(agreed)
            self._told += 1
            self._compared_ever += 1
            took_s = min((time.monotonic_ns() - began_ns) / 1e9, _LONGEST_REST_S)
            self._stopped.wait(took_s if self._told < _EAGER else max(took_s, _LATER_REST_S))

    def _backlog(self) -> bool:
        deployment = self._copied.deployment
        return isinstance(deployment, Deployment) and len(deployment.scheduler.queue) > 0


def _row_of(tensors: Tensors, row: int | None) -> Tensors:
    """A copy of one row, or of all where there are no rows."""
    return {name: _copied(array, row) for name, array in tensors.items()}


def _copied(array: Array, row: int | None) -> Array:
    return (array if row is None else array[row : row + 1]).copy()
