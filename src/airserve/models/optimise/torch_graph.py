"""An ONNX graph that PyTorch runs and trains: each node is one function, each weight a tensor with a gradient.

Unlike an exporter's way back and forth, the graph itself stays: what was learned is written into the file's own
weights, and whatever comes before or behind them (scalings, names of classes) is not touched.
Source: ONNX, "Operators", opset 17.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch.nn import functional

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError

Attributes = dict[str, Any]
_Function = Callable[..., Any]
# What has weights to learn, and which of its inputs they are.
_LEARNING = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2), "Add": (0, 1)}


def nodes_for(model: onnx.ModelProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` needs, in the graph's order."""
    needed, found = {output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            found.append(node)
            needed |= {name for name in node.input if name}
    return found[::-1]


def unsupported(model: onnx.ModelProto, output: str) -> list[str]:
    """The kinds of operations on the way to `output` that cannot be trained here, by name."""
    return sorted({node.op_type for node in nodes_for(model, output) if node.op_type not in {*_FUNCTIONS, "Constant"}})


class TorchGraph:
    """The part of a graph that computes `output`. `parameters` are the weights that learn, by name, float32."""

    def __init__(self, model: onnx.ModelProto, output: str) -> None:
        if names := unsupported(model, output):
            raise InvalidInputError(f"the graph has {', '.join(names)}, which cannot be trained here")
        self.output = output
        nodes = nodes_for(model, output)
        constants = _constants(model)
        self._nodes = [node for node in nodes if node.op_type != "Constant"]
        self._attributes = [_attributes(node) for node in self._nodes]
        learning = {name for node in self._nodes for name in _learning(node) if name in constants}
        stored = {each.name for each in model.graph.initializer}
        self.parameters: dict[str, Any] = {}
        self._constants: dict[str, Any] = {}
        for name, array in constants.items():
            tensor = torch.from_numpy(np.array(array)) if array.dtype.kind in "fiub" else None
            if tensor is not None and name in learning and name in stored and array.dtype == np.float32:
                self.parameters[name] = tensor.requires_grad_()
            else:
                self._constants[name] = tensor

    def run(self, inputs: Tensors) -> Any:
        """The output, a tensor of PyTorch."""
        return self.values(inputs)[self.output]

    def values(self, inputs: Tensors) -> dict[str, Any]:
        """Every tensor of the graph by name, PyTorch's."""
        values: dict[str, Any] = {name: torch.from_numpy(array) for name, array in inputs.items()}
        values |= self._constants | self.parameters
        for node, attributes in zip(self._nodes, self._attributes, strict=True):
            given = [values[name] if name else None for name in node.input]
            values[node.output[0]] = _FUNCTIONS[node.op_type](attributes, *given)
        return values

    def write_to(self, model: onnx.ModelProto) -> None:
        """Put what was learned in place of the weights of `model`."""
        for tensor in model.graph.initializer:
            if tensor.name in self.parameters:
                learned = self.parameters[tensor.name].detach().numpy()
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(learned), tensor.name))


def _learning(node: onnx.NodeProto) -> Iterable[str]:
    return [node.input[at] for at in _LEARNING.get(node.op_type, ()) if at < len(node.input)]


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    found = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and "value" in (attributes := _attributes(node)):
            found[node.output[0]] = onnx.numpy_helper.to_array(attributes["value"])
    return found


def _attributes(node: onnx.NodeProto) -> Attributes:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _padded(attributes: Attributes, x: Any, axes: int, filling: float = 0.0) -> Any:
    """`x` with the padding that the node asks for; ONNX counts from the first axis, PyTorch from the last."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise InvalidInputError("the graph pads automatically; export it with explicit pads to train it here")
    pads: Sequence[int] = attributes.get("pads") or [0] * (2 * axes)
    if not any(pads):
        return x
    sides = [side for axis in reversed(range(axes)) for side in (pads[axis], pads[axis + axes])]
    return functional.pad(x, sides, value=filling)


def _conv(attributes: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    axes = w.ndim - 2
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    return function(
        _padded(attributes, x, axes), w, b,
        stride=tuple(attributes.get("strides") or [1] * axes),
        dilation=tuple(attributes.get("dilations") or [1] * axes),
        groups=attributes.get("group", 1),
    )  # fmt: skip


def _gemm(attributes: Attributes, a: Any, b: Any, c: Any = None) -> Any:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    y = attributes.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + attributes.get("beta", 1.0) * c


def _batch_norm(attributes: Attributes, x: Any, scale: Any, b: Any, mean: Any, var: Any) -> Any:
    # The statistics of the training that made the model stay; a batch of a few rows would have poor ones.
    return functional.batch_norm(x, mean, var, scale, b, training=False, eps=attributes.get("epsilon", 1e-5))


def _pool(kind: str) -> _Function:
    def pool(attributes: Attributes, x: Any) -> Any:
        kernel = attributes["kernel_shape"]
        axes = len(kernel)
        if attributes.get("ceil_mode", 0) or any(step != 1 for step in attributes.get("dilations") or ()):
            raise InvalidInputError("the graph pools with ceil_mode or dilations, which cannot be trained here")
        largest = kind == "max"
        if not largest and any(attributes.get("pads") or ()) and not attributes.get("count_include_pad", 0):
            raise InvalidInputError("the graph averages without its padding, which cannot be trained here")
        function = getattr(functional, f"{kind}_pool{axes}d")
        x = _padded(attributes, x, axes, -torch.inf if largest else 0.0)
        return function(x, tuple(kernel), stride=tuple(attributes.get("strides") or [1] * axes))

    return pool


def _flatten(attributes: Attributes, x: Any) -> Any:
    return x.flatten(attributes.get("axis", 1)) if attributes.get("axis", 1) else x.reshape(1, -1)


def _reshape(attributes: Attributes, x: Any, shape: Any) -> Any:
    sizes = [int(size) for size in shape]
    if attributes.get("allowzero", 0) == 0:
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return x.reshape(sizes)


def _clip(attributes: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    return x if low is None and high is None else torch.clamp(x, low, high)


def _reduce_mean(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    along = attributes.get("axes") if axes is None else axes.tolist()
    keep = bool(attributes.get("keepdims", 1))
    return x.mean(dim=tuple(along) if along else tuple(range(x.ndim)), keepdim=keep)


_FUNCTIONS: dict[str, _Function] = {
    "Add": lambda _, a, b: a + b,
    "AveragePool": _pool("avg"),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, dim=attributes["axis"]),
    "Conv": _conv,
    "Div": lambda _, a, b: a / b,
    "Dropout": lambda _, x, *rest: x,
    "Elu": lambda attributes, x: functional.elu(x, attributes.get("alpha", 1.0)),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": lambda attributes, x: torch.clamp(
        attributes.get("alpha", 0.2) * x + attributes.get("beta", 0.5), 0, 1
    ),
    "HardSwish": lambda _, x: functional.hardswish(x),
    "Identity": lambda _, x: x,
    "LeakyRelu": lambda attributes, x: functional.leaky_relu(x, attributes.get("alpha", 0.01)),
    "MatMul": lambda _, a, b: a @ b,
    "MaxPool": _pool("max"),
    "Mul": lambda _, a, b: a * b,
    "ReduceMean": _reduce_mean,
    "Relu": lambda _, x: functional.relu(x),
    "Reshape": _reshape,
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Softmax": lambda attributes, x: torch.softmax(x, dim=attributes.get("axis", -1)),
    "Sub": lambda _, a, b: a - b,
    "Tanh": lambda _, x: torch.tanh(x),
}
