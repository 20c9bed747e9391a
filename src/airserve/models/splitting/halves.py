"""Cuts an ONNX model at a tensor into two models: the head, which gives it, and the tail, which takes it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from airserve.models.splitting.graph import names_needed, row_counts

_ZERO = "airserve.split.zero"
_SHAPE = "airserve.split.shape"


def head_of(model: onnx.ModelProto, tensor: onnx.ValueInfoProto) -> onnx.ModelProto:
    """The model from the inputs to `tensor`."""
    return _part(model, model.graph.input, [tensor], [])


def tail_of(model: onnx.ModelProto, tensor: onnx.ValueInfoProto) -> onnx.ModelProto:
    """The model from `tensor` to the outputs. How many rows there are it reads from the first axis of `tensor`."""
    counts = row_counts(model)
    # Gathered again, from the tensor that is there: the same number, since both have the batch as first axis.
    again = [helper.make_node("Shape", [tensor.name], [_SHAPE])]
    again += [helper.make_node("Gather", [_SHAPE, _ZERO], [name], axis=0) for name in sorted(counts)]
    return _part(model, [tensor], model.graph.output, again if counts else [])


def tensor_info(name: str, datatype: int, shape: Iterable[int]) -> onnx.ValueInfoProto:
    """A tensor as ONNX declares it: `datatype` of `TensorProto`, `shape` of one row, the first axis free."""
    return helper.make_tensor_value_info(name, datatype, ["batch", *list(shape)[1:]])


def _part(
    model: onnx.ModelProto,
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    first: list[onnx.NodeProto],
) -> onnx.ModelProto:
    """The nodes between `inputs` and `outputs` with their weights, after those in `first`."""
    inputs, outputs = list(inputs), list(outputs)
    given = {each.name for each in inputs} | {name for node in first for name in node.output}
    needed, nodes = {each.name for each in outputs} - given, []
    for node in reversed(model.graph.node):
        wanted = needed.intersection(node.output)
        if wanted:
            nodes.append(node)
            needed -= wanted
            needed.update(name for name in names_needed(node) if name not in given)
    used = {name for node in (*nodes, *first) for name in names_needed(node)}
    weights = [each for each in model.graph.initializer if each.name in used]
    if first:
        weights.append(numpy_helper.from_array(np.array(0, np.int64), _ZERO))
    graph = helper.make_graph(
        [*first, *reversed(nodes)],
        model.graph.name or "part",
        [each for each in inputs if each.name not in {weight.name for weight in model.graph.initializer}],
        outputs,
        weights,
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    part.functions.extend(model.functions)
    return part
