"""Whether a graph keeps to its limits, found out without computing any of it.

A file of 152 bytes can ask for a tensor of petabytes: `ConstantOfShape`, `Expand`, `Tile`, `Range`, an initialiser or
sparse tensor that only claims its size, functions that call functions. ONNX Runtime folds constants while it makes a
session, so all of that is looked for before. Shapes are inferred with values propagated (ONNX, docs/ShapeInference.md);
what that would itself materialise is checked first. What is left is for the memory bound of the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from airserve.core.errors import ModelRejectedError
from airserve.models.onnx_limits import OnnxLimits

_BITS = {
    TensorProto.FLOAT: 32, TensorProto.UINT8: 8, TensorProto.INT8: 8, TensorProto.UINT16: 16, TensorProto.INT16: 16,
    TensorProto.INT32: 32, TensorProto.INT64: 64, TensorProto.STRING: 64, TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16, TensorProto.DOUBLE: 64, TensorProto.UINT32: 32, TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64, TensorProto.COMPLEX128: 128, TensorProto.BFLOAT16: 16, TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8, TensorProto.FLOAT8E5M2: 8, TensorProto.FLOAT8E5M2FNUZ: 8, TensorProto.UINT4: 4,
    TensorProto.INT4: 4, TensorProto.FLOAT4E2M1: 4,
}  # fmt: skip
_SMALL = 1 << 10
_NEWEST = {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": 5, "com.microsoft": 1}
_SUBGRAPH_TYPES = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def check_structure(model: onnx.ModelProto, limits: OnnxLimits) -> None:
    """Check what can be counted: versions, operators' domains, nodes, subgraphs, weights, data in other files.

    Raises `ModelRejectedError`.
    """
    if model.ir_version > onnx.IR_VERSION:
        raise ModelRejectedError(f"the graph is of IR version {model.ir_version}; up to {onnx.IR_VERSION} are known")
    _check_operators(model, limits)
    for graph, depth in _graphs(model):
        if depth > limits.depth:
            raise ModelRejectedError(f"graphs are nested more than {limits.depth} deep")
        _check_tensors(graph.node, [*graph.initializer], [*graph.sparse_initializer], limits)
    for function in model.functions:
        _check_tensors(function.node, [], [], limits)
    _check_nodes(model, limits)
    weights = sum(_size(tensor) for graph, _ in _graphs(model) for tensor in graph.initializer)
    if weights > limits.weight_bytes:
        raise ModelRejectedError(f"the weights claim {weights} bytes; {limits.weight_bytes} are allowed")


def check_shapes(model: onnx.ModelProto, limits: OnnxLimits) -> None:
    """Check the size of every tensor that the graph itself fixes. Raises `ModelRejectedError`."""
    for graph, _ in _graphs(model):
        values = _small_constants(graph)
        for node in graph.node:
            _check_bytes(_claimed_elements(node, values), 32, node, limits)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, False, False, True)
    except MemoryError:
        raise ModelRejectedError("the shapes of the graph take more memory than is allowed") from None
    except Exception as error:
        raise ModelRejectedError(f"the graph contradicts itself: {str(error).strip()[:200]}") from None
    for graph, _ in _graphs(inferred):
        for value in (*graph.value_info, *graph.output, *graph.input):
            kind = value.type.tensor_type
            shape = [axis.dim_value for axis in kind.shape.dim]
            if len(shape) > limits.rank:
                raise ModelRejectedError(f"'{value.name[:80]}' has {len(shape)} axes; {limits.rank} are allowed")
            # A free axis is one row here: its size comes with a call, and calls are bounded.
            _check_bytes(math.prod(size or 1 for size in shape), _BITS.get(kind.elem_type, 64), value, limits)


def _check_operators(model: onnx.ModelProto, limits: OnnxLimits) -> None:
    imported = [(opset.domain, opset.version) for opset in model.opset_import]
    for domain, version in imported:
        newest = _NEWEST.get("" if domain == "ai.onnx" else domain)
        if newest is not None and version > newest:
            raise ModelRejectedError(f"the graph is of opset {version} of '{domain}'; up to {newest} are known")
    own = {function.domain for function in model.functions}
    used = {node.domain for graph, _ in _graphs(model) for node in graph.node}
    used |= {node.domain for function in model.functions for node in function.node}
    strangers = sorted((used | {domain for domain, _ in imported}) - limits.domains - own)
    if strangers:
        raise ModelRejectedError(
            f"the graph uses operators of {', '.join(strangers)[:200]}, which this server does not run; "
            "see allowed_operator_domains in the settings"
        )


def _check_nodes(model: onnx.ModelProto, limits: OnnxLimits) -> None:
    """Count nodes as they are once every function is written out: functions that call functions double each time."""
    functions = {(function.domain, function.name): function for function in model.functions}
    counted: dict[tuple[str, str], int] = {}

    def cost(nodes: Sequence[Any], calling: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in calling:
                raise ModelRejectedError(f"the function '{node.op_type[:80]}' calls itself")
            if key in functions:
                if key not in counted:
                    counted[key] = cost(functions[key].node, calling | {key})
                total += counted[key]
            total += 1 + sum(cost(inner.node, calling) for inner in _subgraphs(node))
        return total

    nodes = cost(model.graph.node, frozenset())
    if nodes > limits.nodes:
        raise ModelRejectedError(f"the graph has {nodes} nodes; {limits.nodes} are allowed")
    subgraphs = sum(1 for _ in _graphs(model)) - 1
    if subgraphs > limits.subgraphs:
        raise ModelRejectedError(f"the graph has {subgraphs} graphs inside it; {limits.subgraphs} are allowed")


def _check_tensors(
    nodes: Sequence[Any], tensors: list[onnx.TensorProto], sparse: list[onnx.SparseTensorProto], limits: OnnxLimits
) -> None:
    """Check `tensors` and `sparse`, and those that are attributes of `nodes`."""
    for node in nodes:
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.HasField("t") else []
            tensors += attribute.tensors
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            sparse += attribute.sparse_tensors
    for each in sparse:
        if any(size < 0 for size in each.dims) or math.prod(each.dims) * 8 > limits.tensor_bytes:
            raise ModelRejectedError(f"a sparse tensor claims the shape {list(each.dims)[:8]}, which is too large")
        tensors += [each.values, each.indices]
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelRejectedError(
                f"the tensor '{tensor.name[:80]}' is kept in another file; save the model with all weights inside"
            )
        _check_tensor(tensor, limits)


def _check_tensor(tensor: onnx.TensorProto, limits: OnnxLimits) -> None:
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > limits.rank:
        raise ModelRejectedError(f"the tensor '{tensor.name[:80]}' has no shape that a tensor can have")
    if tensor.data_type not in _BITS:
        raise ModelRejectedError(f"the tensor '{tensor.name[:80]}' is of a type that is not known")
    claimed = _size(tensor)
    if tensor.HasField("raw_data") and claimed != len(tensor.raw_data):
        raise ModelRejectedError(
            f"the tensor '{tensor.name[:80]}' claims {claimed} bytes and has {len(tensor.raw_data)}"
        )
    if not tensor.HasField("raw_data") and math.prod(tensor.dims) > _listed(tensor) * 2:
        raise ModelRejectedError(f"the tensor '{tensor.name[:80]}' claims more elements than it has")


def _listed(tensor: onnx.TensorProto) -> int:
    """Elements that are written out one by one; a byte can hold two of four bits."""
    fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
    lengths = [len(getattr(tensor, field)) for field in fields]
    return max(lengths)


def _size(tensor: onnx.TensorProto) -> int:
    elements: int = math.prod(tensor.dims)
    return -(-elements * _BITS.get(tensor.data_type, 64) // 8)


def _claimed_elements(node: onnx.NodeProto, values: dict[str, Any]) -> int:
    """At least how many elements the node makes of constants; 0 where it cannot be told. Nothing is made."""
    known = [values.get(name) for name in node.input]
    operator = node.op_type
    if operator == "Range" and len(known) == 3 and all(each is not None and each.size == 1 for each in known):
        start, limit, step = (float(each.ravel()[0]) for each in known if each is not None)
        return 0 if not step or not math.isfinite((limit - start) / step) else max(0, math.ceil((limit - start) / step))
    shape = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Reshape": 1}.get(operator)
    if operator == "Resize":
        shape = 3 if len(known) > 3 and known[3] is not None else 2
    sizes = known[shape] if shape is not None and len(known) > shape else None
    if sizes is None:
        return 0
    return int(min(math.prod(max(float(size), 0) or 1 for size in sizes.ravel()), 1 << 62))


def _small_constants(graph: onnx.GraphProto) -> dict[str, Any]:
    """Constants of up to a thousand elements, by name; a shape is no longer than that."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            found.update((node.output[0], each.t) for each in node.attribute if each.HasField("t"))
    return {name: _array(tensor) for name, tensor in found.items() if math.prod(tensor.dims) <= _SMALL}


def _array(tensor: onnx.TensorProto) -> Any:
    if tensor.data_type == TensorProto.STRING:
        return None
    try:
        array = numpy_helper.to_array(tensor)
    except Exception:  # damaged data, which the checker refuses afterwards in its own words
        return None
    return array if array.dtype.kind in "iuf" and np.isfinite(array).all() else None


def _check_bytes(elements: int, bits: int, where: Any, limits: OnnxLimits) -> None:
    if elements * bits // 8 > limits.tensor_bytes:
        raise ModelRejectedError(
            f"'{where.name[:80] or getattr(where, 'op_type', '')}' is a tensor of {elements} elements, "
            f"{elements * bits // 8} bytes; a graph may fix {limits.tensor_bytes} at most"
        )


def _graphs(model: onnx.ModelProto) -> Iterator[tuple[onnx.GraphProto, int]]:
    """The graph, those in it and in functions, with how deep each lies. No recursion: depth is the attacker's."""
    waiting: list[tuple[Any, int]] = [(model.graph, 0)]
    for function in model.functions:
        waiting += [(inner, 1) for node in function.node for inner in _subgraphs(node)]
    while waiting:
        graph, depth = waiting.pop()
        yield graph, depth
        waiting += [(inner, depth + 1) for node in graph.node for inner in _subgraphs(node)]


def _subgraphs(node: onnx.NodeProto) -> list[Any]:
    found: list[Any] = []
    for attribute in node.attribute:
        if attribute.type in _SUBGRAPH_TYPES or attribute.HasField("g") or attribute.graphs:
            found += [attribute.g] if attribute.HasField("g") else []
            found += attribute.graphs
    return found
