"""A student's graph in the place of the original's: the same inputs and outputs, by name and type."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from airserve.core.errors import BadPackageError
from airserve.core.tensor import TensorSpec
from airserve.models.manifest import Manifest
from airserve.models.optimise.teaching import taught

_TYPES = {"FP32": TensorProto.FLOAT, "BYTES": TensorProto.STRING}


def cannot_stand_in(manifest: Manifest) -> str | None:
    """Why a student cannot give what the original gives; None where it can.

    It takes one input in FP32; it gives the output that it was taught and, of a classifier, the name of the best class.
    """
    inputs, scores = manifest.signature.inputs, taught(manifest)
    if len(inputs) != 1 or inputs[0].datatype != "FP32":
        return "it is for models with one input, in FP32"
    for each in manifest.signature.outputs:
        if each != scores and not _is_label(each, manifest):
            return f"a student would not give the output '{each.name}'"
    return None


def with_signature(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """The graph of a student, of one input and one output, under the names of the original, with its labels."""
    scores = taught(manifest)
    assert scores is not None, "cannot_stand_in said so"  # noqa: S101
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    given = [each.name for each in graph.input if each.name not in weights]
    if len(given) != 1 or len(graph.output) != 1:
        raise BadPackageError("a student has one input and one output")
    # A prefix keeps the student's own names from meeting the original's.
    _rename(graph, {name: f"student.{name}" for name in _names(graph)})
    _rename(graph, {f"student.{given[0]}": manifest.inputs[0].name, graph.output[0].name: scores.name})
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(_value(manifest.signature.inputs[0]))
    for each in manifest.signature.outputs:
        if each != scores:
            _add_label(graph, scores.name, each.name, manifest.labels)
        graph.output.append(_value(each))
    onnx.checker.check_model(model)
    return model


def _is_label(output: TensorSpec, manifest: Manifest) -> bool:
    return output.datatype == "BYTES" and len(output.shape) == 1 and len(manifest.labels) > 1


def _names(graph: onnx.GraphProto) -> set[str]:
    names = {name for node in graph.node for name in (*node.input, *node.output) if name}
    return names | {each.name for each in (*graph.initializer, *graph.input, *graph.output)}


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for place in (node.input, node.output):
            place[:] = [names.get(name, name) for name in place]
    for each in (*graph.initializer, *graph.input, *graph.output):
        each.name = names.get(each.name, each.name)


def _add_label(graph: onnx.GraphProto, scores: str, output: str, labels: tuple[str, ...]) -> None:
    names, best = f"{output}.names", f"{output}.best"
    texts = [label.encode() for label in labels]
    graph.initializer.append(helper.make_tensor(names, TensorProto.STRING, [len(texts)], texts))
    graph.node.append(helper.make_node("ArgMax", [scores], [best], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Gather", [names, best], [output], axis=0))


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = ["batch" if size == -1 and at == 0 else None if size == -1 else size for at, size in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.datatype], shape)
