"""Small ONNX models with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: list) -> Path:  # type: ignore[type-arg]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def save_linear(path: Path, factor: float = 2.0) -> Path:
    """y = factor · x, x of shape [-1, 4]."""
    constant = numpy_helper.from_array(np.array([factor], np.float32), "factor")
    return _save(
        path,
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [_floats("x", "batch", 4)],
        [_floats("y", "batch", 4)],
        [constant],
    )


def save_slow(path: Path) -> Path:
    """y = x, after about a tenth of a second: 20 products of 512×512 matrices; does not batch."""
    matrix = numpy_helper.from_array(np.eye(512, dtype=np.float32), "m")
    nodes = [helper.make_node("Mul", ["x", "m"], ["t0"])]
    nodes += [helper.make_node("MatMul", [f"t{step}", "m"], [f"t{step + 1}"]) for step in range(20)]
    nodes.append(helper.make_node("ReduceMax", ["t20"], ["y"], keepdims=0))
    return _save(path, nodes, [_floats("x", 1)], [_floats("y")], [matrix])


def save_linear_slowly(path: Path, factor: float = 2.0) -> Path:
    """y = factor · x, x of shape [-1, 4], after 12 products of 512×512 matrices."""
    matrix = numpy_helper.from_array(np.eye(512, dtype=np.float32), "m")
    constants = [
        numpy_helper.from_array(np.array([value], np.float32), name)
        for name, value in {"factor": factor, "nothing": 0.0}.items()
    ]
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"]), helper.make_node("Mul", ["mean", "m"], ["t0"])]
    nodes += [helper.make_node("MatMul", [f"t{step}", "m"], [f"t{step + 1}"]) for step in range(12)]
    nodes.append(helper.make_node("ReduceMax", ["t12"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["most", "nothing"], ["vanished"]))
    nodes.append(helper.make_node("Mul", ["x", "factor"], ["product"]))
    nodes.append(helper.make_node("Add", ["product", "vanished"], ["y"]))
    return _save(path, nodes, [_floats("x", "batch", 4)], [_floats("y", "batch", 4)], [matrix, *constants])


def save_linear_failing(path: Path) -> Path:
    """y = 2, of the shape of x, [-1, 4]; fails at run time for rows whose sum is not 0."""
    table = numpy_helper.from_array(np.full((1, 4), 2.0, np.float32), "table")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    return _save(path, nodes, [_floats("x", "batch", 4)], [_floats("y", "batch", 4)], [table, axes])


def save_failing(path: Path) -> Path:
    """y = table[i], which fails at run time for i outside 0…3."""
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    return _save(
        path,
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["batch"])],
        [_floats("y", "batch")],
        [table],
    )


def save_wide(path: Path, width: int, factor: float = 1.0) -> Path:
    """y = factor · x, x of shape [-1, width], by a matrix of 4·width² bytes."""
    matrix = numpy_helper.from_array(np.eye(width, dtype=np.float32) * np.float32(factor), "m")
    return _save(
        path,
        [helper.make_node("MatMul", ["x", "m"], ["y"])],
        [_floats("x", "batch", width)],
        [_floats("y", "batch", width)],
        [matrix],
    )


def save_echo(path: Path, datatype: int, *shape: int | str) -> Path:
    """y = x, of a type of `onnx.TensorProto`."""
    value = [helper.make_tensor_value_info(name, datatype, list(shape)) for name in ("x", "y")]
    return _save(path, [helper.make_node("Identity", ["x"], ["y"])], value[:1], value[1:], [])


def save_identity(path: Path, elements: int) -> Path:
    """y = x, x of shape [-1, -1] and of the ONNX type `elements` (`TensorProto.FLOAT16`, say)."""
    x, y = (helper.make_tensor_value_info(name, elements, ["batch", "width"]) for name in "xy")
    return _save(path, [helper.make_node("Identity", ["x"], ["y"])], [x], [y], [])


def save_mean(path: Path, side: int) -> Path:
    """y, the mean of each channel of x, of shape [-1, 3, side, side]."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    return _save(path, [node], [_floats("x", "batch", 3, side, side)], [_floats("y", "batch", 3)], [])
