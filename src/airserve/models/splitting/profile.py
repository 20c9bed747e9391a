"""How long each operation takes and how large each tensor is, measured by ONNX Runtime on rows of a sample.

The runtime profiles the graph that it optimised, where several operations became one: its time counts for the operation
that gives the same tensor, the others take none. So a tensor inside such a group is no place to cut (`whole_groups`).
Times are of one core and scaled so that their sum is what the whole model takes without the profiler.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from airserve.core.call import Tensors
from airserve.engines.session import Session

_RUNS = 7
_NCHWC = "_nchwc"
_KERNEL = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Feature:
    """A tensor of one row: the data type as `onnx.TensorProto` numbers it, the shape with a first axis of 1."""

    datatype: int
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """How many values a row has."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds by operation (its first output) and in all, of one row on one core; `whole_groups` may be cut after."""

    operation_s: dict[str, float]
    total_s: float
    whole_groups: frozenset[str]


def profile(model: onnx.ModelProto, row: Tensors) -> Profile:
    """Measure `model` on the one `row`."""
    total_s = seconds_of(model, row)
    times = _profiled(model, row)
    scale = total_s / sum(times.values()) if times else 0.0
    known = {name for node in model.graph.node for name in node.output}
    return Profile({name: each * scale for name, each in times.items() if name in known}, total_s, frozenset(times))


def features(model: onnx.ModelProto, tensors: Sequence[str], row: Tensors, rows: Tensors) -> dict[str, Feature]:
    """Those of `tensors` that are float and have the batch as first axis, as `row` and the several `rows` show them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    declared = {each.name for each in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in declared)
    session = Session(copy.SerializeToString(), threads=1, name="the model")
    one, many = session.run(row, tensors), session.run(rows, tensors)
    session.close()
    count = len(next(iter(rows.values())))
    found = {}
    for name in tensors:
        shape = one[name].shape
        if one[name].dtype == np.float32 and shape[:1] == (1,) and many[name].shape == (count, *shape[1:]):
            found[name] = Feature(onnx.TensorProto.FLOAT, shape)
    return found


def seconds_of(model: onnx.ModelProto, row: Tensors) -> float:
    """Processor seconds of one run."""
    session = Session(model.SerializeToString(), threads=1, name="the model")
    outputs = list(session.outputs)
    seconds = cpu_seconds(lambda: session.run(row, outputs))
    session.close()
    return seconds


def cpu_seconds(action: Callable[[], object], runs: int = _RUNS) -> float:
    """The median of `runs` runs of `action` after one that does not count, in processor seconds of this process."""
    action()
    times = []
    for _ in range(runs):
        # Processor time: what else this machine does meanwhile is not the model's.
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _profiled(model: onnx.ModelProto, row: Tensors) -> dict[str, float]:
    """Seconds by tensor that the optimised graph gives, layout changes left out."""
    with tempfile.TemporaryDirectory(prefix="airserve-split-") as scratch:
        optimised = Path(scratch, "optimised.onnx")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch, "profile"))
        options.optimized_model_filepath = str(optimised)
        session = ort.InferenceSession(_named(model), options, providers=["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run(None, row)
        events = json.loads(Path(session.end_profiling()).read_bytes())
        nodes = onnx.load(optimised, load_external_data=False).graph.node
    gives = {node.name: node.output[0] for node in nodes}
    # Convolutions in the layout of the processor are named after the tensor that they give in ours.
    gives |= {name: name.removesuffix(_NCHWC) for name in gives if name.endswith(_NCHWC)}
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            taken[event["name"].removesuffix(_KERNEL)].append(event["dur"] / 1e6)
    known = {name for node in model.graph.node for name in node.output}
    times: dict[str, float] = {}
    for name, each in taken.items():
        if (tensor := gives.get(name)) in known and tensor is not None:
            times[tensor] = statistics.median(each)
    return times


def _named(model: onnx.ModelProto) -> bytes:
    """The model with a name of its own for every node: exporters leave them out, or use one twice."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for index, node in enumerate(copy.graph.node):
        node.name = f"node {index}"
    content: bytes = copy.SerializeToString()
    return content
