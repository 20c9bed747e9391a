"""Export to ONNX: raw inputs in, predictions for people out, so that whoever serves the graph needs nothing else.

The scaling of the inputs and the names of the classes are inside the graph. What is written computes the same as the
NumPy network to 1e-5, or is not written. Operators: ONNX opset 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.nn.errors import TrainingError
from airserve.nn.network import Network
from airserve.nn.scaling import Scaling

Array = npt.NDArray[Any]

TOLERANCE = 1e-5
_OPSET = 17
_IR_VERSION = 8
_OPERATOR_OF = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def export_onnx(
    network: Network,
    path: Path,
    *,
    sample: Array,
    scaling: Scaling | None = None,
    labels: Sequence[str] | None = None,
    target_scaling: Scaling | None = None,
) -> float:
    """Write the network to `path` and return the largest difference to NumPy on `sample` (N, inputs), raw features.

    Input `x` FP32 [-1, inputs]. A classifier (with `labels`) has outputs `probabilities` FP32 [-1, classes] and `label`
    BYTES [-1]; a regression has `prediction` FP32 [-1, K]. Raises `TrainingError` where parity fails.
    """
    if labels is not None and len(labels) != max(2, network.sizes[-1]):
        raise TrainingError(f"{len(labels)} class names do not fit a network with {network.sizes[-1]} outputs")
    graph = _Graph()
    graph.scale(scaling)
    graph.layers(network)
    graph.outputs(network, labels, target_scaling)
    content = graph.serialise(network, labels)
    scaled = sample.astype(np.float32) if scaling is None else scaling.apply(sample)
    expected = predict_for_people(network, scaled, labels, target_scaling)
    difference = _difference(content, sample.astype(np.float32), expected)
    if not difference <= TOLERANCE:
        raise TrainingError(f"the exported graph differs from the network by {difference:.2g}; it is not written")
    path.write_bytes(content)
    return difference


def predict_for_people(
    network: Network, scaled: Array, labels: Sequence[str] | None, target_scaling: Scaling | None
) -> Array:
    """What the exported graph computes, by NumPy: probabilities of all classes, or values in the targets' unit."""
    predicted = network.predict(scaled)
    if labels is not None and network.sizes[-1] == 1:
        return np.concatenate([1 - predicted, predicted], axis=1)
    return predicted if target_scaling is None else target_scaling.undo(predicted)


class _Graph:
    """Collects nodes and constants; `_flow` names the tensor that the next node takes."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise TrainingError(f"export needs {error.name}: pip install 'airserve[train]'") from None
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._flow = "x"

    def constant(self, name: str, value: Array) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, *others: str, output: str | None = None, **attributes: Any) -> None:
        result = output or f"t{len(self._nodes)}"
        node = self._onnx.helper.make_node(operator, [self._flow, *others], [result], **attributes)
        self._nodes.append(node)
        self._flow = result

    def scale(self, scaling: Scaling | None) -> None:
        if scaling is not None:
            self.add("Sub", self.constant("mean", scaling.mean))
            self.add("Div", self.constant("deviation", scaling.deviation))

    def layers(self, network: Network) -> None:
        for index, layer in enumerate(network.layers):
            w = self.constant(f"w{index}", np.ascontiguousarray(layer.w, np.float32))
            b = self.constant(f"b{index}", np.ascontiguousarray(layer.b, np.float32))
            self.add("Gemm", w, b, transB=1)
            self._activate(layer.activation.name)

    def _activate(self, name: str) -> None:
        if name == "softmax":
            self.add("Softmax", axis=-1)
        elif name != "identity":
            self.add(_OPERATOR_OF[name])

    def outputs(self, network: Network, labels: Sequence[str] | None, target_scaling: Scaling | None) -> None:
        self._activate(network.output.name)
        if labels is None:
            if target_scaling is not None:
                self.add("Mul", self.constant("target_deviation", target_scaling.deviation))
                self.add("Add", self.constant("target_mean", target_scaling.mean))
            self.add("Identity", output="prediction")
            return
        if network.sizes[-1] == 1:
            positive = self._flow
            self._nodes.append(
                self._onnx.helper.make_node(
                    "Sub", [self.constant("one", np.ones(1, np.float32)), positive], ["negative"]
                )
            )
            self._flow = "negative"
            self.add("Concat", positive, axis=1)
        self.add("Identity", output="probabilities")
        names = self._onnx.helper.make_tensor(
            "labels", self._onnx.TensorProto.STRING, [len(labels)], [name.encode() for name in labels]
        )
        self._constants.append(names)
        self.add("ArgMax", axis=1, keepdims=0)
        index, self._flow = self._flow, "labels"
        self.add("Gather", index, output="label", axis=0)

    def serialise(self, network: Network, labels: Sequence[str] | None) -> bytes:
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        x = helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", network.sizes[0]])
        if labels is None:
            outputs = [helper.make_tensor_value_info("prediction", kinds.FLOAT, ["batch", network.sizes[-1]])]
        else:
            outputs = [
                helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["batch", len(labels)]),
                helper.make_tensor_value_info("label", kinds.STRING, ["batch"]),
            ]
        graph = helper.make_graph(self._nodes, "airserve", [x], outputs, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="airserve"
        )
        self._onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def _difference(content: bytes, sample: Array, expected: Array) -> float:
    """The largest difference between graph and network, relative where values are larger than 1."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run([session.get_outputs()[0].name], {"x": sample})
    return float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected)), initial=0))
