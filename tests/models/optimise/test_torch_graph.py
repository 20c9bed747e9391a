from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.engines.session import Session
from airserve.models.optimise.torch_graph import TorchGraph, unsupported

RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, Array], shape: tuple[int | str, ...]) -> onnx.ModelProto:
    """From the input x of that shape to the output y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "test", [x], [y], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def one(kind: str, weights: dict[str, Array] | None = None, **attributes: Any) -> onnx.ModelProto:
    weights = weights or {}
    return graph([helper.make_node(kind, ["x", *weights], ["y"], **attributes)], weights, ("n", 4, 6, 6))


ONES = {
    "a convolution": one("Conv", {"w": draw(8, 4, 3, 3), "b": draw(8)}, pads=[1, 0, 2, 1], strides=[2, 1]),
    "one in groups": one("Conv", {"w": draw(4, 1, 3, 3)}, group=4, dilations=[2, 2]),
    "a normalisation": one(
        "BatchNormalization", {"s": draw(4), "b": draw(4), "m": draw(4), "v": np.abs(draw(4)) + 0.1}, epsilon=1e-3
    ),
    "a maximum": one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    "an average": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "one with padding": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "an average of all": one("GlobalAveragePool"),
    "a mean": one("ReduceMean", axes=[2, 3], keepdims=0),
    "rows": one("Flatten"),
    "rows by shape": one("Reshape", {"shape": np.array([0, -1], np.int64)}),
    "an activation": one("LeakyRelu", alpha=0.2),
    "a hard one": one("HardSigmoid", alpha=0.3),
    "a clip": one("Clip", {"low": np.float32(-0.5), "high": np.float32(0.5)}),
    "a softmax": one("Softmax", axis=1),
    "an elu": one("Elu", alpha=0.7),
    "a hard swish": one("HardSwish"),
    "a product": one("MatMul", {"w": draw(6, 5)}),
}


@pytest.mark.parametrize("name", ONES)
def test_an_operation_gives_what_the_runtime_gives(name: str) -> None:
    x = draw(3, 4, 6, 6)
    session = Session(ONES[name].SerializeToString(), threads=1)
    wanted = session.run({"x": x}, ["y"])["y"]
    found = TorchGraph(ONES[name], "y").run({"x": x}).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@given(
    alpha=st.floats(0.5, 2), beta=st.floats(0, 2), transposed=st.booleans(), bias=st.sampled_from([None, (5,), (1, 5)])
)
def test_a_dense_layer_gives_what_the_runtime_gives(
    alpha: float, beta: float, transposed: bool, bias: tuple[int, ...] | None
) -> None:
    weights = {"w": draw(5, 7) if transposed else draw(7, 5)} | ({} if bias is None else {"b": draw(*bias)})
    node = helper.make_node("Gemm", ["x", *weights], ["y"], alpha=alpha, beta=beta, transB=int(transposed))
    model, x = graph([node], weights, ("n", 7)), draw(3, 7)
    wanted = Session(model.SerializeToString(), threads=1).run({"x": x}, ["y"])["y"]
    np.testing.assert_allclose(TorchGraph(model, "y").run({"x": x}).detach().numpy(), wanted, atol=2e-5)


def test_what_was_learned_is_written_into_the_weights_of_the_graph() -> None:
    weights = {"mean": np.float32(1), "w": draw(4, 3), "b": draw(3)}
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    model, x = graph(nodes, weights, ("n", 4)), draw(5, 4)
    network = TorchGraph(model, "y")
    assert sorted(network.parameters) == ["b", "w"]
    network.run({"x": x}).pow(2).sum().backward()
    for parameter in network.parameters.values():
        parameter.data -= 0.002 * parameter.grad
    wanted = network.run({"x": x}).detach().numpy()
    network.write_to(model)
    found = Session(model.SerializeToString(), threads=1).run({"x": x}, ["y"])["y"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.square(found).sum() < np.square((x - 1) @ weights["w"] + weights["b"]).sum()


def test_only_what_the_output_needs_counts_and_the_rest_may_be_anything() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["y"], axis=1),
    ]
    model = graph(nodes, {}, ("n", 4))
    assert unsupported(model, "scores") == []
    assert unsupported(model, "y") == ["ArgMax"]
    with pytest.raises(InvalidInputError, match="ArgMax, which cannot be trained here"):
        TorchGraph(model, "y")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (one("Conv", {"w": draw(8, 4, 3, 3)}, auto_pad="SAME_UPPER"), "explicit pads"),
        (one("MaxPool", kernel_shape=[2, 2], ceil_mode=1), "ceil_mode"),
        (one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "without its padding"),
    ],
)
def test_a_form_of_an_operation_that_is_not_known_is_refused(model: onnx.ModelProto, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        TorchGraph(model, "y").run({"x": draw(1, 4, 6, 6)})
