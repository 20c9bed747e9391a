from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from airserve.core.call import Array
from airserve.engines.session import Session
from airserve.models.optimise.channels import layers, strength, without
from tests.models.optimise.test_torch_graph import draw, graph

MIDDLES: dict[str, tuple[list[tuple[str, list[str], dict[str, Any]]], dict[str, Array]]] = {
    "an activation": ([("Relu", [], {})], {}),
    "a normalisation": (
        [("BatchNormalization", ["s", "o", "m", "v"], {})],
        {"s": draw(12), "o": draw(12), "m": draw(12), "v": np.abs(draw(12)) + 0.1},
    ),
    "a depthwise convolution": (
        [("Conv", ["d", "e"], {"group": 12, "pads": [1] * 4}), ("Clip", ["low", "high"], {})],
        {"d": draw(12, 1, 3, 3), "e": draw(12), "low": np.float32(0), "high": np.float32(6)},
    ),
    "numbers for each": ([("Mul", ["s"], {}), ("Add", ["o"], {})], {"s": draw(1, 12, 1, 1), "o": draw(12, 1, 1)}),
    "one number for all": ([("Mul", ["s"], {})], {"s": draw(1)}),
}
ENDS: dict[str, tuple[list[tuple[str, list[str], dict[str, Any]]], dict[str, Array]]] = {
    "a convolution": ([("Conv", ["z"], {})], {"z": draw(5, 12, 2, 2)}),
    "rows": ([("Flatten", [], {}), ("Gemm", ["z", "c"], {"transB": 1})], {"z": draw(5, 12 * 9), "c": draw(5)}),
    "rows by shape": (
        [("Reshape", ["shape"], {}), ("MatMul", ["z"], {})],
        {"shape": np.array([0, -1], np.int64), "z": draw(12 * 9, 5)},
    ),
    "rows, then numbers": (
        [("Flatten", [], {}), ("Add", ["f"], {}), ("Gemm", ["z"], {})],
        {"f": draw(12 * 9), "z": draw(12 * 9, 5)},
    ),
    "an average": ([("GlobalAveragePool", [], {}), ("Flatten", [], {}), ("Gemm", ["z"], {})], {"z": draw(12, 5)}),
    "a mean": ([("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}), ("MatMul", ["z"], {})], {"z": draw(12, 5)}),
    "pools": ([("MaxPool", [], {"kernel_shape": [2, 2]}), ("Conv", ["z"], {})], {"z": draw(5, 12, 1, 1)}),
}


def network(middle: str, end: str) -> onnx.ModelProto:
    """A convolution of 12 channels on x [n, 2, 3, 3]; what is in the middle, and where the channels end."""
    steps, weights = [("Conv", ["w", "b"], {"pads": [1] * 4})], {"w": draw(12, 2, 3, 3), "b": draw(12)}
    for more, arrays in (MIDDLES[middle], ENDS[end]):
        steps, weights = [*steps, *more], weights | arrays
    nodes = [
        helper.make_node(kind, [f"t{at}" if at else "x", *others], [f"t{at + 1}"], **attributes)
        for at, (kind, others, attributes) in enumerate(steps)
    ]
    nodes[-1].output[0] = "y"
    return graph(nodes, weights, ("n", 2, 3, 3))


def answer(model: onnx.ModelProto, x: Array) -> Array:
    return Session(model.SerializeToString(), threads=1).run({"x": x}, ["y"])["y"]


@given(
    middle=st.sampled_from(sorted(MIDDLES)),
    end=st.sampled_from(sorted(ENDS)),
    kept=st.sets(st.integers(0, 11), min_size=1, max_size=11),
)
def test_channels_that_nobody_listens_to_can_go_and_nothing_changes(middle: str, end: str, kept: set[int]) -> None:
    model = network(middle, end)
    (layer,) = layers(model, "y")
    assert layer.count == 12
    gone = [channel for channel in range(12) if channel not in kept]
    for weight in model.graph.initializer:
        for cut in layer.takers:
            if weight.name == cut.weight:
                array = np.moveaxis(numpy_helper.to_array(weight).copy(), cut.axis, 0)
                array.reshape(12, -1, *array.shape[1:])[gone] = 0
                weight.CopyFrom(numpy_helper.from_array(np.moveaxis(array, 0, cut.axis), weight.name))
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert set(np.flatnonzero(strength(layer, weights))) == kept
    smaller = without(model, [(layer, np.array(sorted(kept)))])
    assert len(smaller.SerializeToString()) < len(model.SerializeToString())
    x = draw(3, 2, 3, 3)
    np.testing.assert_allclose(answer(smaller, x), answer(model, x), atol=1e-4)


def made(*nodes: tuple[str, list[str], str], **weights: Array) -> onnx.ModelProto:
    return graph([helper.make_node(kind, given, [out]) for kind, given, out in nodes], weights, ("n", 6))


TWO = {"a": draw(6, 8), "b": draw(8, 6), "c": draw(6, 6)}


@pytest.mark.parametrize(
    "model",
    [
        made(("MatMul", ["x", "a"], "h"), ("Softmax", ["h"], "s"), ("MatMul", ["s", "b"], "y"), **TWO),
        made(("MatMul", ["x", "c"], "h"), ("Add", ["h", "x"], "s"), ("MatMul", ["s", "a"], "y"), **TWO),
        made(("MatMul", ["x", "c"], "h"), ("MatMul", ["h", "c"], "y"), **TWO),
        made(("MatMul", ["x", "a"], "y"), **TWO),
        made(("MatMul", ["x", "a"], "h"), ("Mul", ["h", "h"], "s"), ("MatMul", ["s", "b"], "y"), **TWO),
        made(("MatMul", ["x", "a"], "h"), ("MatMul", ["b", "h"], "y"), **TWO),
    ],
    ids=["mixed by a softmax", "added", "shared weights", "given out", "multiplied", "on the other side"],
)  # fmt: skip
def test_channels_that_meet_others_stay(model: onnx.ModelProto) -> None:
    assert layers(model, "y") == []


def test_a_layer_whose_channels_are_an_output_too_stays() -> None:
    model = made(("MatMul", ["x", "a"], "h"), ("Relu", ["h"], "r"), ("MatMul", ["r", "b"], "y"), **TWO)
    assert [each.count for each in layers(model, "y")] == [8]
    model.graph.output.append(helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None))
    assert layers(model, "y") == []
