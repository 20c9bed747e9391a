"""What a graph takes and gives. Source of types and shapes: ONNX IR specification, docs/IR.md."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from airserve.core.errors import BadPackageError
from airserve.core.tensor import TensorSpec

_DATATYPES = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}


def signature_of(graph: onnx.GraphProto, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the graph in the file `name`; weights that older graphs list as inputs are left out."""
    weights = {initializer.name for initializer in graph.initializer}
    inputs = tuple(_spec(value) for value in graph.input if value.name not in weights)
    outputs = tuple(_spec(value) for value in graph.output)
    if not inputs or not outputs:
        raise BadPackageError(f"{name} has no inputs or no outputs")
    return inputs, outputs


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in _DATATYPES:
        raise BadPackageError(f"'{value.name}' is no tensor of a type that the Open Inference Protocol carries")
    if not kind.HasField("shape"):
        raise BadPackageError(f"'{value.name}' has no shape; export the model with its number of axes")
    sizes = (axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1 for axis in kind.shape.dim)
    return TensorSpec(value.name, _DATATYPES[kind.elem_type], tuple(sizes))
