"""What every runtime offers, and the table that chooses one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError
from airserve.core.tensor import Signature

_RUNTIMES = {"onnx": "airserve.engines.onnx"}


class Model(Protocol):
    """A loaded model. `run` may be called from several threads at once and must release the GIL while it computes."""

    signature: Signature

    def run(self, inputs: Tensors) -> Tensors:
        """All outputs for `inputs`, whose first axis is the batch where the model batches."""
        ...


def load_model(engine: str, path: Path, signature: Signature, *, threads: int) -> Model:
    """Load the weights at `path` with the runtime `engine`, computing with `threads` threads a run."""
    if engine not in _RUNTIMES:
        raise BadPackageError(f"engine '{engine}' is not known; this server has {', '.join(sorted(_RUNTIMES))}")
    model: Model = importlib.import_module(_RUNTIMES[engine]).load(path, signature, threads=threads)
    return model
