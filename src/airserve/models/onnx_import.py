"""Read what a bare `model.onnx` takes and gives, and make a package of it.

ONNX is read as data and never runs anything. Source of types and shapes: ONNX IR specification, docs/IR.md.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from airserve.core.errors import BadPackageError, TooLargeError
from airserve.core.tensor import TensorSpec
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, tensor
from airserve.models.package import write_package

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
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_MAX_BYTES = (1 << 31) - 1


def package_onnx(path: Path, folder: Path, *, name: str, max_batch: int | None = None) -> Path:
    """Make a package in `folder` of the graph in `path`. Raises `BadPackageError` with the reason if it cannot be."""
    inputs, outputs = read_signature(path)
    free = all(spec.shape and spec.shape[0] == -1 for spec in (*inputs, *outputs))
    if max_batch is None:
        max_batch = DEFAULT_MAX_BATCH if free else 0
    elif max_batch > 1 and not free:
        raise BadPackageError(f"{path.name} does not batch: the first axis of every input and output must be free")
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=tuple(map(tensor, inputs)),
        outputs=tuple(map(tensor, outputs)),
        variants=(Variant("original", "model.onnx", path.stat().st_size),),
        max_batch=max_batch if free else 0,
    )
    return write_package(folder, manifest, {"model.onnx": path})


def read_signature(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of the graph in `path`; weights that older graphs list as inputs are left out."""
    graph = _load(path).graph
    weights = {initializer.name for initializer in graph.initializer}
    inputs = tuple(_spec(value) for value in graph.input if value.name not in weights)
    outputs = tuple(_spec(value) for value in graph.output)
    if not inputs or not outputs:
        raise BadPackageError(f"{path.name} has no inputs or no outputs")
    return inputs, outputs


def _load(path: Path) -> onnx.ModelProto:
    if path.stat().st_size > _MAX_BYTES:
        raise TooLargeError(f"{path.name} is larger than 2 GiB, the most that one ONNX file can hold")
    try:
        # External data is not followed here: a file may name any path of this machine.
        model = onnx.load(path, load_external_data=False)
        _refuse_external_data(model.graph, path)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, DecodeError, ValueError) as error:
        raise BadPackageError(
            f"{path.name} is no valid ONNX model: {str(error).strip().splitlines()[0][:200]}"
        ) from None
    strangers = sorted({opset.domain for opset in model.opset_import} - _KNOWN_DOMAINS)
    if strangers:
        raise BadPackageError(f"{path.name} uses operators of {', '.join(strangers)}, which this server does not run")
    return model


def _refuse_external_data(graph: onnx.GraphProto, path: Path) -> None:
    for initializer in graph.initializer:
        if initializer.data_location == TensorProto.EXTERNAL:
            raise BadPackageError(
                f"{path.name} keeps the tensor '{initializer.name[:80]}' in another file; "
                "save it with all weights inside"
            )
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_location == TensorProto.EXTERNAL:
                raise BadPackageError(f"{path.name} keeps a constant in another file; save it with all data inside")
            for inner in (attribute.g, *attribute.graphs):
                _refuse_external_data(inner, path)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in _DATATYPES:
        raise BadPackageError(f"'{value.name}' is no tensor of a type that the Open Inference Protocol carries")
    if not kind.HasField("shape"):
        raise BadPackageError(f"'{value.name}' has no shape; export the model with its number of axes")
    sizes = (axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else -1 for axis in kind.shape.dim)
    return TensorSpec(value.name, _DATATYPES[kind.elem_type], tuple(sizes))
