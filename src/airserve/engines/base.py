"""What every runtime offers, and the tables that choose one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError
from airserve.core.generation import Generation, Piece
from airserve.core.tensor import Signature
from airserve.engines.options import Source

_RUNTIMES = {"onnx": "airserve.engines.onnx", "python": "airserve.engines.python"}
_GENERATORS = {"llama": "airserve.engines.llama", "openai": "airserve.engines.upstream"}

ENGINES = tuple(sorted({*_RUNTIMES, *_GENERATORS}))


class Model(Protocol):
    """A loaded model. `run` may be called from several threads at once and must release the GIL while it computes."""

    signature: Signature

    def run(self, inputs: Tensors) -> Tensors:
        """All outputs for `inputs`, whose first axis is the batch where the model batches."""
        ...

    def example(self, rows: int) -> Tensors:
        """Inputs of `rows` rows that the model can run, to warm it up and to measure it."""
        ...

    def close(self) -> None:
        """Give back memory, processes and files. `run` is not called any more."""
        ...


class Generator(Protocol):
    """A loaded text decoder. `generate` may be called from `slots` threads at once."""

    slots: int
    embeds: bool

    def generate(self, generation: Generation, emit: Callable[[Piece], bool]) -> None:
        """Hand each piece to `emit` as it comes, the last with `final`; stop within one token once it returns False.

        A refusal before the first piece, and a failure after it, are raised as `AirserveError`.
        """
        ...

    def close(self) -> None:
        """Give back memory and connections. `generate` is not called any more."""
        ...


def generates(engine: str) -> bool:
    """Whether models of this engine generate text, piece by piece, rather than turn tensors into tensors."""
    return engine in _GENERATORS


def load_model(engine: str, source: Source, *, threads: int) -> Model:
    """Load a model of tensors with the runtime `engine`, computing with `threads` threads a run."""
    if engine not in _RUNTIMES:
        raise _unknown(engine)
    if source.sealed is not None:
        from airserve.engines.sealed import load_sealed

        return load_sealed(engine, source, source.sealed, threads=threads)
    model: Model = importlib.import_module(_RUNTIMES[engine]).load(source, threads=threads)
    return model


def load_generator(engine: str, source: Source, *, threads: int) -> Generator:
    """Load a text decoder with the runtime `engine`, computing with `threads` threads."""
    if engine not in _GENERATORS:
        raise _unknown(engine)
    generator: Generator = importlib.import_module(_GENERATORS[engine]).load(source, threads=threads)
    return generator


def _unknown(engine: str) -> BadPackageError:
    return BadPackageError(f"engine '{engine}' is not known; this server has {', '.join(ENGINES)}")
