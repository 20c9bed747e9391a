"""The models of the benchmarks, made the same on every machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

_OPSET = 17
_IR_VERSION = 8  # what that opset came with; every ONNX Runtime of these years reads it

_WIDTH = 64  # channels of the convolutional net

MLP_INPUT = (64,)
CONVOLUTION_INPUT = (3, 64, 64)
DENSE_INPUT = (4096,)
MEAN_INPUT = (3, 224, 224)


def build(folder: Path, *names: str) -> dict[str, Path]:
    """Write the named models (`tiny`, `convolution`, `dense`, `mean`) as `folder/NAME.onnx`."""
    makers = {"tiny": _tiny, "convolution": _convolution, "dense": _dense, "mean": _mean}
    paths = {}
    for name in names:
        paths[name] = folder / f"{name}.onnx"
        onnx.save(makers[name](), paths[name])
    return paths


def rows(shape: Sequence[int], count: int = 1) -> Array:
    """`count` rows of float32 input, the same on every machine."""
    return np.random.default_rng(7).standard_normal((count, *shape), dtype=np.float32)


def _tiny() -> onnx.ModelProto:
    """An MLP 64 → 128 → 10: almost nothing to compute, so what is measured is the way there and back."""
    return _dense_layers((64, 128, 10)).model(MLP_INPUT, (10,))


def _dense() -> onnx.ModelProto:
    """Two 4,096-wide dense layers, 134 MB of weights: reading them costs the same for one row as for many."""
    return _dense_layers((4096, 4096, 4096)).model(DENSE_INPUT, (4096,))


def _mean() -> onnx.ModelProto:
    """The mean of each channel of a 224×224 picture: 602,112 bytes in, 12 bytes out, little to compute."""
    graph = _Graph(seed=3)
    graph.add("ReduceMean", ["x"], out="y", axes=[2, 3], keepdims=0)
    return graph.model(MEAN_INPUT, (3,))


def _convolution() -> onnx.ModelProto:
    """Eight residual blocks of separable 3×3 convolutions on 64×64 pictures, about 3 ms a row on one core.

    One row's maps (1 MB each) stay in a core's cache; those of 32 rows do not, so each row of a batch costs more.
    """
    graph = _Graph(seed=2)
    at = graph.relu(graph.convolution("x", 3, _WIDTH, kernel=3))
    for _ in range(8):
        inner = graph.relu(graph.convolution(at, _WIDTH, _WIDTH, kernel=3, groups=_WIDTH))
        inner = graph.convolution(inner, _WIDTH, _WIDTH, kernel=1)
        at = graph.relu(graph.add("Add", [inner, at]))
    features = graph.add("Flatten", [graph.add("GlobalAveragePool", [at])])
    graph.gemm(features, _WIDTH, 10, out="y")
    return graph.model(CONVOLUTION_INPUT, (10,))


def _dense_layers(sizes: Sequence[int]) -> _Graph:
    graph = _Graph(seed=1)
    at = "x"
    for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
        at = graph.relu(graph.gemm(at, fan_in, fan_out))
    graph.gemm(at, sizes[-2], sizes[-1], out="y")
    return graph


class _Graph:
    """Nodes and weights from `x` to `y`, with random weights of He's variance."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], *, out: str | None = None, **attributes: Any) -> str:
        """A node; the name of its output."""
        out = out or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [out], **attributes))
        return out

    def relu(self, at: str) -> str:
        return self.add("Relu", [at])

    def gemm(self, at: str, fan_in: int, fan_out: int, *, out: str | None = None) -> str:
        """x·W + b."""
        return self.add("Gemm", [at, self._weight((fan_in, fan_out), fan_in), self._weight((fan_out,), 100)], out=out)

    def convolution(self, at: str, fan_in: int, fan_out: int, *, kernel: int, groups: int = 1) -> str:
        """A convolution that keeps height and width."""
        shape = (fan_out, fan_in // groups, kernel, kernel)
        weight = self._weight(shape, kernel * kernel * fan_in // groups)
        return self.add("Conv", [at, weight], pads=[kernel // 2] * 4, group=groups)

    def _weight(self, shape: Sequence[int], fan_in: int) -> str:
        name = f"w{len(self._weights)}"
        values = self._random.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan_in))
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def model(self, takes: Sequence[int], gives: Sequence[int]) -> onnx.ModelProto:
        """The checked model, float32 `x` [batch, *takes] to float32 `y` [batch, *gives]."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *takes])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *gives])
        made = helper.make_model(
            helper.make_graph(self._nodes, "benchmark", [x], [y], self._weights),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(made)
        return made
