"""Which neurons of a graph can be left out, and what has to be cut where one goes.

A layer (convolution or matrix product) makes channels. Followed to where they end, they may pass through what treats
each by itself (activations, pooling, a depthwise convolution, a normalisation) and must end in other layers: there the
weights that took a removed channel go too. Channels that are added to others, joined with them or given out stay: the
layer then is none that can be pruned. Source: Li et al., "Pruning Filters for Efficient ConvNets", 2017, fig. 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from airserve.core.call import Array
from airserve.models.optimise.torch_graph import nodes_for

_LAYERS = {"Conv", "Gemm", "MatMul"}
_EACH_BY_ITSELF = {
    "Clip", "Dropout", "Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Relu", "Sigmoid", "Tanh",
}  # fmt: skip
_POOLS = {"AveragePool", "GlobalAveragePool", "MaxPool"}
_WITH_CONSTANT = {"Add", "Sub", "Mul", "Div"}


@dataclass(frozen=True, slots=True)
class Cut:
    """The axis of a weight that runs over the channels, or over `channels` times several features of each."""

    weight: str
    axis: int


@dataclass(frozen=True, slots=True)
class Layer:
    """`count` channels that can be left out one by one. `tensor` is where they arrive: what the last layer is given.

    `cuts` are of every weight that knows the channels; `takers` those of them that use the channels; `depthwise` are
    convolutions by the name of their output, whose number of groups is that of the channels.
    """

    name: str
    count: int
    tensor: str
    cuts: tuple[Cut, ...]
    takers: tuple[Cut, ...]
    depthwise: tuple[str, ...]


def layers(model: onnx.ModelProto, output: str) -> list[Layer]:
    """All layers of the way to `output` whose channels may go, in its order."""
    graph = _Graph(model, output)
    found = (graph.layer(node) for node in graph.nodes)
    return [each for each in found if each is not None and each.count > 1]


def without(model: onnx.ModelProto, kept: Sequence[tuple[Layer, Array]]) -> onnx.ModelProto:
    """A copy of `model` in which of each layer only the channels with the given indices, int64, are left."""
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    weights = {each.name: each for each in pruned.graph.initializer}
    for layer, channels in kept:
        for cut in {*layer.cuts, *layer.takers}:
            array = onnx.numpy_helper.to_array(weights[cut.weight])
            smaller = np.take(array, _spread(channels, array.shape[cut.axis] // layer.count), axis=cut.axis)
            weights[cut.weight].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(smaller), cut.weight))
        for node in pruned.graph.node:
            if node.output[0] in layer.depthwise:
                next(each for each in node.attribute if each.name == "group").i = len(channels)
    # What was inferred of the shapes inside is of the wider network.
    del pruned.graph.value_info[:]
    return pruned


def strength(layer: Layer, weights: Mapping[str, Array]) -> Array:
    """How strongly each channel is used: the length of the vector of the weights that take it, float64 [count]."""
    total = np.zeros(layer.count)
    for cut in layer.takers:
        array = np.moveaxis(weights[cut.weight].astype(np.float64), cut.axis, 0)
        total += np.square(array.reshape(layer.count, -1)).sum(axis=1)
    return np.sqrt(total)


def _spread(channels: Array, features: int) -> Array:
    """The places of all features of these channels, where each has `features` of them in a row."""
    return np.asarray((channels[:, None] * features + np.arange(features)).reshape(-1))


@dataclass(slots=True)
class _Found:
    """What is known so far of one layer's channels."""

    count: int
    tensor: str = ""
    cuts: list[Cut] = field(default_factory=list)
    takers: list[Cut] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)


class _Graph:
    """The part of a graph that computes one output, for walking along it.

    On the way a tensor has its channels in the second axis, [rows, channels, …], with one axis or more behind it, or
    is [rows, features] where each channel has its features side by side; `rank` counts the axes.
    """

    def __init__(self, model: onnx.ModelProto, output: str) -> None:
        self.nodes = nodes_for(model, output)
        self._weights: dict[str, tuple[int, ...]] = {each.name: tuple(each.dims) for each in model.graph.initializer}
        self._numbers = {
            each.name: onnx.numpy_helper.to_array(each).tolist()
            for each in model.graph.initializer
            if each.data_type == onnx.TensorProto.INT64 and len(each.dims) == 1
        } | _constant_numbers(model)
        self._outputs = {each.name for each in model.graph.output}
        self._ranks = _ranks(model)
        # All users count, also those that are not on the way to the output.
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def layer(self, node: onnx.NodeProto) -> Layer | None:
        """The layer that `node` is, where its channels may go."""
        cuts = self._made_by(node)
        if not cuts:
            return None
        found = _Found(self._size(cuts[0]), cuts=cuts)
        rank = len(self._weights[node.input[1]])
        if not self._follow(node.output[0], rank, found) or not found.takers:
            return None
        everything = [*found.cuts, *found.takers]
        # A weight that two layers share cannot be cut for one of them.
        if any(len(self._users[cut.weight]) > 1 or self._size(cut) % found.count for cut in everything):
            return None
        cuts_, takers = tuple(found.cuts), tuple(found.takers)
        return Layer(node.output[0], found.count, found.tensor, cuts_, takers, tuple(found.depthwise))

    def _size(self, cut: Cut) -> int:
        return self._weights[cut.weight][cut.axis]

    def _made_by(self, node: onnx.NodeProto) -> list[Cut]:
        """The weights along the channels that `node` makes, the main one first; none where it is no layer."""
        if node.op_type not in _LAYERS or node.input[1] not in self._weights:
            return []
        shape = self._weights[node.input[1]]
        if node.op_type == "Conv":
            axis = 0 if _attribute(node, "group", 1) == 1 else None
        elif node.op_type == "Gemm":
            axis = 0 if _attribute(node, "transB", 0) else 1
        else:
            axis = 1 if len(shape) == 2 and self._ranks.get(node.output[0]) == 2 else None
        if axis is None:
            return []
        bias = node.input[2] if len(node.input) > 2 else ""
        if not bias:
            return [Cut(node.input[1], axis)]
        sizes = self._weights.get(bias, ())
        if sizes[-1:] != (shape[axis],):
            return []
        return [Cut(node.input[1], axis), Cut(bias, len(sizes) - 1)]

    def _follow(self, tensor: str, rank: int, found: _Found) -> bool:
        """Collect all that the channels in `tensor` meet; whether they may be cut there."""
        if tensor in self._outputs:
            return False
        return all(self._pass(node, tensor, rank, found) for node in self._users.get(tensor, []))

    def _pass(self, node: onnx.NodeProto, tensor: str, rank: int, found: _Found) -> bool:
        kind, out = node.op_type, node.output[0]
        if node.input[0] != tensor or kind in _WITH_CONSTANT:
            return kind in _WITH_CONSTANT and self._with_constant(node, tensor, rank, found)
        if kind in _EACH_BY_ITSELF or (kind in _POOLS and rank > 2):
            return self._follow(out, rank, found)
        if kind == "ReduceMean" and rank > 2:
            return self._averages(node, rank) and self._follow(out, self._ranks.get(out, 0), found)
        if kind in ("Flatten", "Reshape"):
            return self._makes_rows(node) and self._follow(out, 2, found)
        if kind == "BatchNormalization":
            return self._cut_all(node.input[1:5], found) and self._follow(out, rank, found)
        if kind == "Conv" and _attribute(node, "group", 1) > 1:
            return self._depthwise(node, found) and self._follow(out, rank, found)
        return self._taken(node, tensor, found)

    def _cut_all(self, names: Sequence[str], found: _Found) -> bool:
        found.cuts += [Cut(name, 0) for name in names if name in self._weights]
        return all(name in self._weights for name in names)

    def _with_constant(self, node: onnx.NodeProto, tensor: str, rank: int, found: _Found) -> bool:
        """An operation with one number, or with one for each channel."""
        other = node.input[1] if node.input[0] == tensor else node.input[0]
        shape = self._weights.get(other)
        if shape is None:
            return False
        axes = [axis for axis, size in enumerate(shape) if size > 1]
        # Counted from the end, which is how shapes are matched, the channels' axis is the last but rank - 2.
        if len(axes) > 1 or any(len(shape) - axis != rank - 1 or shape[axis] % found.count for axis in axes):
            return False
        found.cuts += [Cut(other, axis) for axis in axes]
        return self._follow(node.output[0], rank, found)

    def _averages(self, node: onnx.NodeProto, rank: int) -> bool:
        """Whether it averages over all that is behind the channels."""
        along = next((list(each.ints) for each in node.attribute if each.name == "axes"), None)
        if along is None and len(node.input) > 1:
            along = self._numbers.get(node.input[1])
        return along is not None and sorted(axis % rank for axis in along) == list(range(2, rank))

    def _makes_rows(self, node: onnx.NodeProto) -> bool:
        """Whether it puts the features of each channel side by side, one row of them for each row."""
        if node.op_type == "Flatten":
            return _attribute(node, "axis", 1) == 1
        # A size that is written down would have to be another one.
        return self._numbers.get(node.input[1]) == [0, -1]

    def _depthwise(self, node: onnx.NodeProto, found: _Found) -> bool:
        shape = self._weights.get(node.input[1], ())
        if _attribute(node, "group", 1) != found.count or shape[:2] != (found.count, 1):
            return False
        found.depthwise.append(node.output[0])
        return self._cut_all([name for name in node.input[1:] if name], found)

    def _taken(self, node: onnx.NodeProto, tensor: str, found: _Found) -> bool:
        """Whether `node` is a layer that takes the channels; they end there."""
        shape = self._weights.get(node.input[1], ()) if node.op_type in _LAYERS else ()
        if len(shape) < 2 or _attribute(node, "transA", 0):
            return False
        axis = 1 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 0
        if len(shape) > 2 and node.op_type != "Conv":
            return False
        found.takers.append(Cut(node.input[1], axis))
        found.tensor = tensor
        return True


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """How many axes each tensor has, where that can be told."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {each.name: len(each.type.tensor_type.shape.dim) for each in values if each.type.HasField("tensor_type")}


def _constant_numbers(model: onnx.ModelProto) -> dict[str, list[int]]:
    found = {}
    for node in model.graph.node:
        value = next((each.t for each in node.attribute if node.op_type == "Constant" and each.name == "value"), None)
        if value is not None and value.data_type == onnx.TensorProto.INT64 and len(value.dims) == 1:
            found[node.output[0]] = onnx.numpy_helper.to_array(value).tolist()
    return found


def _attribute(node: onnx.NodeProto, name: str, usual: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), usual)
