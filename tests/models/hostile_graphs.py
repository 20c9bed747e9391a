"""Graphs that want to harm whoever loads them: small files with large appetites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HUGE = 1 << 40


def model(nodes: Sequence[Any], constants: Sequence[Any] = (), rank: int = 2, **parts: Any) -> onnx.ModelProto:
    """x FP32 [batch, 4] -> z FP32 of `rank` free axes."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None] * rank)
    graph = helper.make_graph(list(nodes), "g", [x], [z], list(constants))
    imports = parts.pop("opsets", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **parts)


def integers(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, np.int64), name)


def floats(name: str, *values: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def node(operator: str, inputs: str, output: str = "z", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, [n.strip() for n in inputs.split(",")] if inputs else [], [output], **attributes)


def claims(shape: Sequence[int], **data: Any) -> onnx.TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, **data)


def doubling_functions(times: int) -> onnx.ModelProto:
    """f0 is one node, f(n) calls f(n - 1) twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = []
    for number in range(times):
        inner = [node("Identity", "a", "b"), node("Identity", "b", "c")]
        if number:
            inner = [
                helper.make_node(f"f{number - 1}", ["a"], ["b"], domain="own"),
                helper.make_node(f"f{number - 1}", ["b"], ["c"], domain="own"),
            ]
        functions.append(helper.make_function("own", f"f{number}", ["a"], ["c"], inner, opsets))
    call = helper.make_node(f"f{times - 1}", ["x"], ["z"], domain="own")
    return model([call], opsets=opsets, functions=functions)


def sparse(size: int) -> onnx.ModelProto:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    tensor = helper.make_sparse_tensor(values, integers("i", [0]), [size])
    return model([helper.make_node("Constant", [], ["s"], sparse_value=tensor), node("Add", "x,s")])


def nested(depth: int) -> onnx.ModelProto:
    condition = numpy_helper.from_array(np.array(True), "yes")
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    plain = graph = helper.make_graph([node("Identity", "x", "o")], "inner", [], [out])
    for _ in range(depth):
        branch = helper.make_node("If", ["yes"], ["o"], then_branch=graph, else_branch=plain)
        graph = helper.make_graph([branch], "inner", [], [out])
    return model([helper.make_node("If", ["yes"], ["z"], then_branch=graph, else_branch=plain)], [condition])


def endless() -> onnx.ModelProto:
    """A loop that runs 2^62 times."""
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Add", "v,v", "w")],
        "body",
        [helper.make_tensor_value_info("n", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("w", TensorProto.FLOAT, None)],
    )  # fmt: skip
    constants = [integers("times", 1 << 62), numpy_helper.from_array(np.array(True), "yes")]
    return model([helper.make_node("Loop", ["times", "yes", "x"], ["z"], body=body)], constants)


def versioned(version: int, domain: str = "") -> onnx.ModelProto:
    opsets = [helper.make_opsetid(domain, version), *([helper.make_opsetid("", 17)] if domain else [])]
    return model([node("Identity", "x")], opsets=opsets)


def external(location: str) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return model([node("Mul", "x,w")], [tensor])


def external_in_a_subgraph(location: str) -> onnx.ModelProto:
    inner = external(location)
    tensor = inner.graph.initializer[0]
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    graph = helper.make_graph([node("Mul", "x,w", "o")], "inner", [], [out], [tensor])
    condition = numpy_helper.from_array(np.array(True), "yes")
    return model([helper.make_node("If", ["yes"], ["z"], then_branch=graph, else_branch=graph)], [condition])


def external_in_a_function(location: str) -> onnx.ModelProto:
    tensor = external(location).graph.initializer[0]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = [helper.make_node("Constant", [], ["w"], value=tensor), node("Mul", "a,w", "b")]
    function = helper.make_function("own", "f", ["a"], ["b"], inner, opsets)
    return model([node("f", "x", domain="own")], opsets=opsets, functions=[function])


# By the check that must find each of them, with words of its refusal.
BOMBS: dict[str, tuple[onnx.ModelProto, str]] = {
    "constant-of-shape": (
        model([node("ConstantOfShape", "s", "y"), node("Add", "y,x")], [integers("s", [HUGE, 4])]), "a graph may fix"
    ),
    "constant-node": (
        model([node("Constant", "", "s", value=integers("s", [HUGE, 4])), node("ConstantOfShape", "s")]),
        "a graph may fix",
    ),
    "expand": (model([node("Expand", "x,s")], [integers("s", [HUGE, 1, 4])], 3), "a graph may fix"),
    "tile": (model([node("Tile", "x,s")], [integers("s", [HUGE, 4])]), "a graph may fix"),
    "range": (
        model([node("Range", "a,b,c", "y"), node("Cast", "y", to=1)],
              [integers("a", 0), integers("b", HUGE), integers("c", 1)], 1), "a graph may fix"),
    "random": (
        model([helper.make_node("RandomNormal", [], ["y"], shape=[HUGE, 4]), node("Add", "y,x")]), "a graph may fix"
    ),
    "computed-shape": (
        model([node("Mul", "s,s", "t"), node("ConstantOfShape", "t", "y"), node("Add", "y,x")],
              [integers("s", [1 << 20, 1])]), "a graph may fix"),
    "pad": (model([node("Pad", "x,s")], [integers("s", [0, HUGE, 0, 0])]), "a graph may fix"),
    "one-hot": (
        model([node("Cast", "x", "t", to=7), node("OneHot", "t,d,v")], [integers("d", [HUGE]), floats("v", 0, 1)], 3),
        "a graph may fix",
    ),
    "resize": (model([node("Resize", "x,,,s")], [integers("s", [1 << 20, 1 << 20])]), "a graph may fix"),
    "resize-by-factor": (model([node("Resize", "x,,s")], [floats("s", 1e6, 1e6)]), "a graph may fix"),
    "window": (model([node("HannWindow", "a")], [integers("a", HUGE)], 1), "a graph may fix"),
    "initialiser": (model([node("Add", "x,w")], [claims([HUGE, 4], float_data=[1.0])]), "more elements than it has"),
    "raw-initialiser": (model([node("Add", "x,w")], [claims([HUGE, 4], raw_data=b"1234")]), "claims"),
    "sparse": (sparse(HUGE), "sparse tensor claims"),
    "rank": (model([node("Reshape", "x,s")], [integers("s", [1] * 60 + [4])], 61), "60|61 axes"),
    "functions": (doubling_functions(40), "nodes"),
    "nesting": (nested(24), "nested more than 16|graphs inside"),
    "opset": (versioned(999), "opset 999"),
    "domain": (versioned(1, "evil.ops"), r"evil\.ops"),
    "external": (external("/etc/passwd"), "another file"),
    "external-up": (external("../../etc/passwd"), "another file"),
    "external-beside": (external("model.onnx.data"), "another file"),
    "external-inside": (external_in_a_subgraph("/etc/passwd"), "another file"),
    "external-in-a-function": (external_in_a_function("model.onnx.data"), "another file"),
}  # fmt: skip
