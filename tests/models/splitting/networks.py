"""Graphs for the tests of splitting: a small convolutional classifier, and one that cannot be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("red", "green", "blue")


def small_cnn(side: int = 32) -> onnx.ModelProto:
    """Pictures [-1, 3, side, side] -> scores [-1, 3], which tell the mean colour.

    Two convolutions that halve the sides, a residual one, pooling, and a reshape to the number of rows, which is read
    from the input as exporters do it.
    """
    random = np.random.default_rng(0)
    mix = random.normal(size=(8, 3))
    weights = {
        "w1": 0.05 * random.normal(size=(8, 3, 3, 3)) + (mix / 9)[:, :, None, None],
        "w2": np.eye(8)[:, :, None, None] * 0.25 * np.ones((1, 1, 2, 2)),
        "w3": 0.02 * random.normal(size=(8, 8, 3, 3)),
        # The least squares way back from eight mixed channels to three colours, good before the rectifier.
        "w4": np.linalg.pinv(np.maximum(mix, 0)) * 8,
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"], axis=0),
        helper.make_node("Conv", ["x", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Add", ["r3", "c2"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Unsqueeze", ["count", "axis"], ["counts"]),
        helper.make_node("Concat", ["counts", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["pooled", "wanted"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w4"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small-cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()),
            numpy_helper.from_array(np.array(0), "zero"),
            numpy_helper.from_array(np.array([0]), "axis"),
            numpy_helper.from_array(np.array([-1]), "rest"),
        ],
    )
    return _model(graph)


def two_ways() -> onnx.ModelProto:
    """a [-1, 4] and b [-1, 4], each through a Relu of its own, added only at the end: no single tensor parts it."""
    nodes = [
        helper.make_node("Relu", ["a"], ["left"]),
        helper.make_node("Relu", ["b"], ["right"]),
        helper.make_node("Add", ["left", "right"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("a", "b", "y")]
    return _model(helper.make_graph(nodes, "two-ways", infos[:2], infos[2:]))


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
