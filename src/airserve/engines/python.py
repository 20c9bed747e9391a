"""The operator's own code: a class with `load(folder)` and `predict(batch)`, in processes of its own."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, ModelFailedError
from airserve.core.tensor import Signature, datatype_of, zeros
from airserve.engines.base import Model
from airserve.engines.model_process import Start
from airserve.engines.model_processes import started
from airserve.engines.options import Python, Source
from airserve.engines.python_messages import Answer, Load

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_OURS = "AIRSERVE_"


class PythonModel:
    """`workers` processes with the same class."""

    def __init__(self, source: Source, options: Python) -> None:
        """Start every process and wait until they have loaded. Raises `BadPackageError` if one cannot."""
        self.signature = source.signature
        environment = environment_of(options)
        self._closing = ExitStack()
        folder = self._closing.enter_context(source.contents.folder())
        self.processes = started(
            self._closing,
            options.workers,
            Start(
                module="airserve.engines.python_worker",
                load=Load(
                    str(folder.path),
                    source.file,
                    options.attribute,
                    None if options.memory_mb is None else options.memory_mb << 20,
                ),
                answers=Answer,
                environment=environment,
                file=source.file,
                model=source.model,
                timeout_ms=options.timeout_ms,
                load_timeout_ms=options.load_timeout_ms,
                descriptors=folder.descriptors,
            ),
        )

    def run(self, inputs: Tensors) -> Tensors:
        """What `predict` returns, held against the signature.

        Raises `ModelLostError` where the process ended or had to be ended, and `ModelFailedError` for an exception or
        an answer that does not fit.
        """
        outputs, _ = self.processes.call(inputs)
        return _checked(outputs, self.signature, inputs)

    def example(self, rows: int) -> Tensors:
        """Zeros, and empty strings."""
        return zeros(self.signature, rows)

    def close(self) -> None:
        """Let the processes end by themselves; kill those that do not."""
        self.processes.close()
        self._closing.close()


def environment_of(options: Python) -> dict[str, str]:
    """PATH and what the manifest gives; a value `$NAME` is that of the serving process.

    Raises `BadPackageError` for a name that is not set there.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    for name, value in options.environment.items():
        match = _VARIABLE.fullmatch(value)
        if match is None:
            environment[name] = value
        elif match[1].startswith(_OURS):
            raise BadPackageError(f"the model wants {value}, which is the service's own and may hold a key of it")
        elif match[1] in os.environ:
            environment[name] = os.environ[match[1]]
        else:
            raise BadPackageError(
                f"the model wants {name} from {value}, which is not set where the service runs; set it there"
            )
    return environment


def load(source: Source, *, threads: int) -> Model:
    """The class of a package, loaded in its processes. How many threads it computes with is its own affair."""
    if sys.platform != "linux":
        raise BadPackageError("the engine 'python' shares memory in a way that only Linux has; serve this model there")
    return PythonModel(source, source.python or Python())


def _checked(outputs: Tensors, signature: Signature, inputs: Tensors) -> Tensors:
    """`outputs` in the order of the signature; raises `ModelFailedError` naming what does not fit it."""
    rows = next(iter(inputs.values())).shape[0] if signature.max_batch else None
    checked = {}
    for spec in signature.outputs:
        array = outputs.pop(spec.name, None)
        if array is None:
            raise ModelFailedError(f"the model's answer has no output '{spec.name}'")
        datatype = datatype_of(array)
        if datatype != spec.datatype:
            raise ModelFailedError(
                f"the model's output '{spec.name}' is {datatype}; its signature says {spec.datatype}"
            )
        batched = rows is not None and spec.shape[:1] == (-1,)
        if not spec.accepts(array.shape) or (batched and array.shape[0] != rows):
            wanted = [rows, *spec.shape[1:]] if batched else list(spec.shape)
            raise ModelFailedError(
                f"the model's output '{spec.name}' has shape {list(array.shape)}; it should be {wanted}"
            )
        checked[spec.name] = array
    if outputs:
        strangers = ", ".join(sorted(outputs))[:200]
        raise ModelFailedError(f"the model's answer has outputs that its signature does not know: {strangers}")
    return checked
