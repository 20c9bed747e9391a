"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.core.tensor import Signature, zeros
from airserve.engines.base import Model
from airserve.engines.options import Source

ort.set_default_logger_severity(3)
# What is computed here is nobody else's business.
ort.disable_telemetry_events()


class OnnxModel:
    """One ONNX Runtime session; `run` releases the GIL and may be called from several threads."""

    def __init__(self, path: Path, signature: Signature, *, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads take the cores that the server itself needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadPackageError(f"ONNX Runtime cannot load {path.name}: {_first_line(error)}") from error
        self.signature = signature
        self._outputs = [spec.name for spec in signature.outputs]
        self._strings = [spec.name for spec in signature.inputs if spec.datatype == "BYTES"]

    def run(self, inputs: Tensors) -> Tensors:
        """All outputs of the graph, by name. Raises `ModelFailedError` with the runtime's first line."""
        for name in self._strings:
            inputs = {**inputs, name: _as_text(inputs[name], name)}
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as error:
            raise ModelFailedError(f"the model failed on this input: {_first_line(error)}") from error
        return dict(zip(self._outputs, values, strict=True))

    def example(self, rows: int) -> Tensors:
        """Zeros, and empty strings."""
        return zeros(self.signature, rows)

    def close(self) -> None:
        """Free the session."""
        del self._session


def load(source: Source, *, threads: int) -> Model:
    """The graph of a package, ready to run."""
    return OnnxModel(source.path, source.signature, threads=threads)


def _as_text(array: Array, name: str) -> Array:
    """ONNX strings are UTF-8 text; a BYTES element that is not is the client's error."""
    try:
        flat = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidInputError(f"input '{name}' of this model takes text; an element is not valid UTF-8") from None
    text = np.empty(array.size, dtype=object)
    text[:] = flat
    return text.reshape(array.shape)


def _first_line(error: Exception) -> str:
    """Without the file paths that the runtime likes to print."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.split(" : ")[-1][:300]
