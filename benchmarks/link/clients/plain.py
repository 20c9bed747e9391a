"""What the clients that do not adapt have in common: one workload, one way to ask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from airserve.core.call import Tensors
from airserve.core.tensor import datatype_of
from benchmarks.link.clients.pace import Seen, play
from benchmarks.link.workloads import Workload, open_workload

Ask = Callable[[Tensors], Any]


def triton_inputs(kind: Callable[[str, list[int], str], Any], inputs: Tensors) -> list[Any]:
    """The inputs as Triton's clients take them; `kind` is the `InferInput` of one of the two."""
    given = []
    for name, array in inputs.items():
        tensor = kind(name, list(array.shape), datatype_of(array))
        tensor.set_data_from_numpy(array)
        given.append(tensor)
    return given


def run(connect: Callable[[Workload], AbstractContextManager[Ask]], codec: str) -> None:
    """Play the workload of the command line as plain tensors; `connect` gives what turns inputs into outputs.

    Making the tensors of a frame is part of each call.
    """
    workload = open_workload(sys.argv[1], Path(sys.argv[2]))
    with connect(workload) as ask:
        play(
            lambda number: Seen(workload.judge(number, ask(workload.tensors(number))), codec=codec),
            workload.every_s,
            workload.at_once,
        )
