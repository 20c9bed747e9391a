"""The process that tries a graph which nobody has tried: `python -m airserve.models.onnx_trial LIMITS NAME PARENT`.

The graph comes on standard input; one JSON document goes to standard output. Memory and processor time are bounded by
the kernel, so whatever the graph does to ONNX Runtime ends with this process.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from airserve.core.call import Tensors
from airserve.core.errors import AirserveError, BadPackageError, ModelRejectedError
from airserve.core.tensor import NUMPY_OF, TensorSpec
from airserve.engines.process_guard import end_with
from airserve.engines.session import Session
from airserve.models.onnx_admission import Admitted
from airserve.models.onnx_budget import check_shapes, check_structure
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.onnx_signature import signature_of

Specs = tuple[TensorSpec, ...]

_TIMES_THE_MODEL = 8
_MOST_ELEMENTS = 1 << 24


def main(limits: OnnxLimits, name: str) -> Admitted:
    """Try the graph on standard input within `limits`."""
    content = sys.stdin.buffer.read()
    confine(limits, len(content))
    try:
        return Admitted(*try_graph(content, limits, name))
    except AirserveError as error:
        return Admitted(code=error.code, message=error.message)
    except MemoryError:
        return Admitted(code=ModelRejectedError.code, message=f"{name} takes more memory than a new model may")
    except Exception as error:  # whatever the libraries raise on a hostile graph
        return Admitted(code=ModelRejectedError.code, message=f"{name} cannot be read: {type(error).__name__}")


def confine(limits: OnnxLimits, size: int) -> None:
    """Bound what this process can take from now on, for a graph of `size` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + limits.memory_bytes + _TIMES_THE_MODEL * size
    for kind, bound in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(kind, (bound, bound))


def try_graph(content: bytes, limits: OnnxLimits, name: str) -> tuple[Specs, Specs]:
    """Check the graph, make a session of it and run it once; its inputs and outputs.

    Raises `BadPackageError`, and `ModelRejectedError` for one over a limit.
    """
    try:
        model = onnx.load_model_from_string(content)
        check_structure(model, limits)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, DecodeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadPackageError(f"{name} is no valid ONNX model: {reason}") from None
    inputs, outputs = signature_of(model.graph, name)
    check_shapes(model, limits)
    del model
    session = Session(content, threads=1, name=name)
    try:
        session.run(_ones(inputs), [spec.name for spec in outputs])
    except AirserveError as error:
        # Many graphs want other input than this; that it neither hangs nor kills nor eats all memory is asked here.
        if "alloc" in error.message.lower():
            raise ModelRejectedError(f"{name} takes more memory for one row than a new model may") from None
    session.close()
    return inputs, outputs


def _ones(inputs: Specs) -> Tensors:
    """One row of ones, free axes of length 1; nothing for a graph whose input alone is huge."""
    made: Tensors = {}
    for spec in inputs:
        shape = [1 if size == -1 else size for size in spec.shape]
        if np.prod(shape, dtype=float) > _MOST_ELEMENTS:
            raise ModelRejectedError(f"the input '{spec.name}' has {shape} elements; a call could never carry it")
        array = np.full(shape, "1", object) if spec.datatype == "BYTES" else np.ones(shape, NUMPY_OF[spec.datatype])
        made[spec.name] = array
    return made


if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    answer = msgspec.json.encode(main(msgspec.json.decode(sys.argv[1], type=OnnxLimits), sys.argv[2]))
    os.write(1, answer)
    # Whatever the graph left behind has no say in the exit code.
    os._exit(0)
