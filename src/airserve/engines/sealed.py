"""A model whose calls may be sealed, as the serving process sees it: what is sealed passes through, unread.

The model and its private keys are in a process of its own (`sealed_worker`). A call that is not sealed goes the same
way, its tensors in the shared memory.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack

import numpy as np

from airserve.codecs.sealed_message import TENSOR
from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, ModelFailedError
from airserve.core.tensor import zeros
from airserve.engines.model_process import Start
from airserve.engines.model_processes import started
from airserve.engines.options import SealedSource, Source
from airserve.engines.sealed_messages import (
    DoneSealed,
    FromWorker,
    GiveKey,
    KeyInUse,
    LoadSealed,
    ReadySealed,
    RunSealed,
)

ANSWER = "airserve.answer"
"""The name of the output that holds a `SealedAnswer` for each sealed call, beside the sealed replies themselves."""


class SealedModel:
    """A model in a worker; one process, since clients seal to its key."""

    def __init__(self, engine: str, source: Source, sealed: SealedSource, *, threads: int) -> None:
        """Start the worker and wait until it has loaded. Raises `BadPackageError` if it cannot."""
        self.signature = source.signature
        options = sealed.options
        self._key: KeyInUse | None = None
        self._greeting: ReadySealed | None = None
        self._closing = ExitStack()
        folder = self._closing.enter_context(source.contents.folder())
        self._processes = started(
            self._closing,
            1,
            Start(
                module="airserve.engines.sealed_worker",
                load=LoadSealed(
                    engine=engine,
                    folder=str(folder.path),
                    file=source.file,
                    signature=source.signature,
                    labels=source.labels,
                    vision=source.vision,
                    text=source.text,
                    threads=threads,
                    model=source.model,
                    version=sealed.version,
                    package=sealed.package,
                    identity=str(sealed.identity),
                    options=options,
                ),
                answers=FromWorker,
                environment={"PATH": os.environ.get("PATH", os.defpath)},
                file=source.file,
                model=source.model,
                timeout_ms=options.timeout_ms,
                load_timeout_ms=options.load_timeout_ms,
                descriptors=folder.descriptors,
            ),
        )

    def run(self, inputs: Tensors) -> Tensors:
        """Outputs for inputs; for sealed calls, BYTES [n] beside their call ids, the sealed replies and the answers."""
        if TENSOR not in inputs:
            return self._processes.call(inputs)[0]
        outputs, done = self._processes.call(inputs, RunSealed)
        if not isinstance(done, DoneSealed) or not len(done.answers) == len(outputs[TENSOR]) == len(inputs[TENSOR]):
            raise ModelFailedError("the model's process answered other calls than it was asked")
        self._key = done.key
        answers = np.empty(len(done.answers), dtype=object)
        answers[:] = done.answers
        return {TENSOR: outputs[TENSOR], ANSWER: answers}

    def known_key(self) -> KeyInUse | None:
        """The key to seal to, if that is known without asking the worker."""
        greeting = next(iter(self._processes.greetings()), None)
        if not isinstance(greeting, ReadySealed):
            return None
        if greeting is not self._greeting:
            # Another process has other keys.
            self._greeting, self._key = greeting, greeting.key
        return self._key if self._key is not None and time.time() < self._key.renew_at else None

    def key(self) -> KeyInUse:
        """The key to seal to. Blocks while the worker is busy."""
        _, done = self._processes.call({}, GiveKey)
        if not isinstance(done, DoneSealed):
            raise ModelFailedError("the model's process told no key")
        self._key = done.key
        return done.key

    def example(self, rows: int) -> Tensors:
        """Zeros, and empty strings."""
        return zeros(self.signature, rows)

    def close(self) -> None:
        """Let the worker end; its keys end with it."""
        self._processes.close()
        self._closing.close()


def load_sealed(engine: str, source: Source, sealed: SealedSource, *, threads: int) -> SealedModel:
    """A package in a worker of its own, which computes with `threads` threads."""
    if sys.platform != "linux":
        raise BadPackageError("a sealed model shares memory in a way that only Linux has; serve it there")
    return SealedModel(engine, source, sealed, threads=threads)
