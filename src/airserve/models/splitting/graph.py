"""An ONNX graph as operations and the tensors between them, without what does not depend on the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from airserve.core.errors import BadPackageError

_SUBGRAPH = onnx.AttributeProto.GRAPH


@dataclass(frozen=True, slots=True)
class Operation:
    """One node: the tensors that it needs and gives, those alone that depend on the model's input.

    `name` is its first output, which no other node of the graph has.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in an order in which they can run; every one lies on a way from an input to an output."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]

    def users(self) -> dict[str, tuple[Operation, ...]]:
        """Who needs each tensor; nobody is asked of the model's outputs."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for tensor in operation.inputs:
                found.setdefault(tensor, []).append(operation)
        return {tensor: tuple(operations) for tensor, operations in found.items()}

    def before(self, tensor: str) -> frozenset[str]:
        """The names of the operations that `tensor` is computed by."""
        needed, found = {tensor}, set()
        for operation in reversed(self.operations):
            if needed.intersection(operation.outputs):
                needed.update(operation.inputs)
                found.add(operation.name)
        return frozenset(found)


def read_graph(model: onnx.ModelProto) -> Graph:
    """The graph of `model`. Constants are left out, and so is the number of rows: either side of a cut knows them.

    Raises `BadPackageError` where no output depends on an input.
    """
    weights = {each.name for each in model.graph.initializer}
    inputs = [each.name for each in model.graph.input if each.name not in weights]
    outputs = [each.name for each in model.graph.output]
    depends, free = set(inputs), row_counts(model)
    operations: list[Operation] = []
    for node in model.graph.node:
        given = tuple(dict.fromkeys(name for name in names_needed(node) if name in depends))
        if given and free.isdisjoint(node.output):
            made = tuple(name for name in node.output if name)
            depends.update(made)
            operations.append(Operation(made[0], node.op_type, given, made))
    operations = list(_useful(operations, outputs))
    needed = {tensor for operation in operations for tensor in operation.inputs}
    if not operations:
        raise BadPackageError("no output of the model depends on its input")
    return Graph(
        tuple(name for name in inputs if name in needed), tuple(name for name in outputs if name in depends),
        tuple(operations),
    )  # fmt: skip


def names_needed(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those included that its branches and loop bodies take from around it."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        if attribute.type == _SUBGRAPH:
            own = {each.name for each in (*attribute.g.input, *attribute.g.initializer)}
            for inner in attribute.g.node:
                yield from (name for name in names_needed(inner) if name not in own)
                own.update(inner.output)
            yield from (each.name for each in attribute.g.output if each.name not in own)


def row_counts(model: onnx.ModelProto) -> frozenset[str]:
    """The tensors that hold how many rows there are: Gather(Shape(input), 0), as exporters write it."""
    weights = {each.name: each for each in model.graph.initializer}
    inputs = {each.name for each in model.graph.input} - weights.keys()
    shapes = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Shape" and node.input[0] in inputs and not node.attribute
    }
    zeros = {name for name, each in weights.items() if _is_zero(each)}
    for node in model.graph.node:
        if node.op_type == "Constant" and any(each.name == "value" and _is_zero(each.t) for each in node.attribute):
            zeros.add(node.output[0])
    return frozenset(
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in shapes and node.input[1] in zeros
    )


def _is_zero(tensor: onnx.TensorProto) -> bool:
    """Whether it is the integer 0, without an axis."""
    integer = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return integer and not tensor.dims and int(numpy_helper.to_array(tensor)) == 0


def _useful(operations: list[Operation], outputs: Iterable[str]) -> Iterator[Operation]:
    needed, kept = set(outputs), []
    for operation in reversed(operations):
        if needed.intersection(operation.outputs):
            needed.update(operation.inputs)
            kept.append(operation)
    return reversed(kept)
