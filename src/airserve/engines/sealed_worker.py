"""The process of a sealed model: `python -m airserve.engines.sealed_worker CHANNEL INPUTS OUTPUTS PARENT`.

The arguments are those of `python_worker`. Private keys and opened calls are in this process alone.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import numpy as np

from airserve.codecs.sealed_key import SignedKey, public_text, sign
from airserve.codecs.sealed_message import CALL_ID, TENSOR
from airserve.codecs.sealed_suite import SealedSuite
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.engines.base import Model, load_model
from airserve.engines.options import Source
from airserve.engines.process_guard import end_with, keep_to_itself
from airserve.engines.python_messages import Channel, Done, Failed, Run
from airserve.engines.sealed_batch import run_sealed
from airserve.engines.sealed_identity import load_or_create_identity
from airserve.engines.sealed_keyring import KeyRing
from airserve.engines.sealed_messages import (
    DoneSealed,
    FromWorker,
    KeyInUse,
    LoadSealed,
    ReadySealed,
    RunSealed,
    SealedRequest,
)
from airserve.engines.sealed_opening import Opener
from airserve.engines.sealed_replay import ReplayCache
from airserve.engines.shared_tensors import Segment


def main(channel_fd: int, inputs_fd: int, outputs_fd: int, parent: int) -> None:
    """Load the model and make a key, then answer until the serving process closes the channel."""
    end_with(parent)
    channel = Channel(socket.socket(fileno=channel_fd))
    try:
        worker = Worker(channel.receive(LoadSealed), Segment(inputs_fd), Segment(outputs_fd))
    except Exception as error:
        channel.send(Failed("raised", f"{type(error).__name__}: {error}"[:300]))
        return
    keep_to_itself()
    channel.send(ReadySealed(worker.key()))
    while True:
        try:
            request: SealedRequest = channel.receive(SealedRequest)  # type: ignore[arg-type]  # a union
        except EOFError:
            return
        channel.send(worker.answer(request))


class Worker:
    """A loaded model, its keys, and the memory that is shared with the serving process."""

    def __init__(self, load: LoadSealed, inputs: Segment, outputs: Segment) -> None:
        self._inputs, self._outputs = inputs, outputs
        options = load.options
        identity = load_or_create_identity(Path(load.identity))
        self._identity = public_text(identity)
        self._ring = KeyRing(
            SealedSuite(kem=options.kem, aead=options.aead),
            model=load.model,
            version=load.version,
            package=load.package,
            rotate_ns=int(options.rotate_s * 1e9),
            overlap_ns=int(options.overlap_s * 1e9),
            sign=lambda config: sign(config, identity),
        )
        self._replays = ReplayCache(options.replay_entries)
        self._opener = Opener(load.model, load.version, self._ring, self._replays)
        self._model = _load(load)

    def key(self) -> KeyInUse:
        """The key of this moment."""
        if self._ring.turn(time.time_ns()):
            self._replays.clear()
        newest = self._ring.newest
        signed: SignedKey = newest.signed
        return KeyInUse(self._identity, signed, newest.renew_ns / 1e9)

    def answer(self, request: SealedRequest) -> FromWorker:
        """The answer to one request; what is in it of sealed calls is sealed."""
        if isinstance(request, Run):
            return self._run(request)
        if isinstance(request, RunSealed):
            return self._run_sealed(request)
        return DoneSealed([], [], self.key())

    def _run(self, run: Run) -> Done | Failed:
        """Calls that came unsealed."""
        try:
            return Done(self._outputs.write(self._model.run(self._inputs.read(run.tensors, copy=False))))
        except InvalidInputError as error:
            return Failed("refused", error.message[:1000])
        except Exception as error:
            return Failed("raised", f"{type(error).__name__}: {error}"[:300])

    def _run_sealed(self, run: RunSealed) -> DoneSealed:
        read = self._inputs.read(run.tensors, copy=False)
        calls = [(message, call_id.decode()) for message, call_id in zip(read[TENSOR], read[CALL_ID], strict=True)]
        results = run_sealed(self._model, self._opener, calls, time.time_ns)
        replies = np.empty(len(results), dtype=object)
        replies[:] = [reply for _, reply in results]
        sealed: Tensors = {TENSOR: replies}
        return DoneSealed(self._outputs.write(sealed), [answer for answer, _ in results], self.key())


def _load(load: LoadSealed) -> Model:
    source = Source(
        folder=Path(load.folder),
        file=load.file,
        signature=load.signature,
        labels=load.labels,
        vision=load.vision,
        text=load.text,
        model=load.model,
    )
    return load_model(load.engine, source, threads=load.threads)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
