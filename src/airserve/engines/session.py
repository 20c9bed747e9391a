"""One ONNX Runtime session on the CPU, and its errors as ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, ModelFailedError

ort.set_default_logger_severity(3)
# What is computed here is nobody else's business.
ort.disable_telemetry_events()


class Session:
    """A loaded graph; `run` releases the GIL and may be called from several threads.

    `inputs` and `outputs` are the graph's names with their shapes: an int, or None where the size is free.
    """

    def __init__(self, model: Path | bytes, *, threads: int, name: str = "") -> None:
        """Of a file, or of the bytes of one called `name`. A graph in bytes has all its weights inside."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads take the cores that the server itself needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            name = model.name if isinstance(model, Path) else name
            raise BadPackageError(f"ONNX Runtime cannot load {name}: {_first_line(error)}") from error
        self.inputs = {each.name: _shape(each.shape) for each in self._session.get_inputs()}
        self.outputs = {each.name: _shape(each.shape) for each in self._session.get_outputs()}

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """The named outputs of the graph. Raises `ModelFailedError` with the runtime's first line."""
        try:
            values = self._session.run(outputs, inputs)
        except Exception as error:
            raise ModelFailedError(f"the model failed on this input: {_first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))

    def close(self) -> None:
        """Free the graph."""
        del self._session


def _shape(axes: Sequence[object]) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) else None for axis in axes)


def _first_line(error: Exception) -> str:
    """Without the file paths that the runtime likes to print."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.split(" : ")[-1][:300]
