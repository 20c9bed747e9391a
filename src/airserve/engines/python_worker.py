"""The process of a Python model: `python -m airserve.engines.python_worker CHANNEL INPUTS OUTPUTS PARENT`.

The first three are inherited file descriptors, the last is the process that started this one. Standard output and
standard error belong to the operator's code; what goes to the serving process goes through the channel.
"""

from __future__ import annotations

import importlib.util
import resource
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.engines.process_guard import end_with
from airserve.engines.python_messages import Answer, Channel, Done, Failed, Load, Ready, Run
from airserve.engines.shared_tensors import Segment


def main(channel_fd: int, inputs_fd: int, outputs_fd: int, parent: int) -> None:
    """Load the model, then answer until the serving process closes the channel."""
    end_with(parent)
    channel = Channel(socket.socket(fileno=channel_fd))
    inputs, outputs = Segment(inputs_fd), Segment(outputs_fd)
    try:
        model = _load(channel.receive(Load))
    except Exception as error:
        traceback.print_exc()
        channel.send(Failed("raised", f"{type(error).__name__}: {error}"[:300]))
        return
    channel.send(Ready())
    while True:
        try:
            request = channel.receive(Run)
        except EOFError:
            return
        channel.send(_answer(model, request, inputs, outputs))


def _load(load: Load) -> Any:
    if load.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (load.memory_bytes, load.memory_bytes))
    path = Path(load.folder) / load.file
    # Other modules of the package can be imported by their name.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{load.file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    model = getattr(module, load.attribute)()
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"{load.attribute} has no method predict(self, batch)")
    if hasattr(model, "load"):
        model.load(load.folder)
    return model


def _answer(model: Any, run: Run, inputs: Segment, outputs: Segment) -> Answer:
    try:
        batch = inputs.read(run.tensors, copy=False)
        answer = model.predict(batch)
    except InvalidInputError as error:
        return Failed("refused", error.message[:1000])
    except MemoryError:
        traceback.print_exc()
        return Failed("raised", "MemoryError")
    except Exception as error:
        traceback.print_exc()
        return Failed("raised", type(error).__name__)
    try:
        return Done(outputs.write(_tensors(answer)))
    except Exception as error:
        traceback.print_exc()
        return Failed("answered", str(error)[:300])


def _tensors(answer: object) -> Tensors:
    if not isinstance(answer, Mapping):
        raise TypeError(f"predict returned {type(answer).__name__}; it returns a dict of output name to array")
    return {str(name): np.asarray(value) for name, value in answer.items()}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
