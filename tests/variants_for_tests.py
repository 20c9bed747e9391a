"""A package with a full variant that takes long and a small one that takes next to nothing, told apart by answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from airserve.models.manifest import Cascade, Manifest, Tensor, Variant
from airserve.models.package import write_package

FULL, SMALL = 2.0, 3.0
"""What each variant multiplies its input with."""

_SIDE = 512


def save_laborious(path: Path, factor: float, products: int) -> Path:
    """y = factor · x, x of shape [-1, 4], by way of `products` products of 512×512 matrices for each row."""
    into = np.zeros((4, _SIDE), np.float32)
    into[np.arange(4), np.arange(4)] = factor
    constants = [
        numpy_helper.from_array(into, "into"),
        numpy_helper.from_array(np.eye(_SIDE, dtype=np.float32), "eye"),
        numpy_helper.from_array(into.T.copy() / np.float32(factor), "out"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "into"], ["wide"]),
        helper.make_node("Unsqueeze", ["wide", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "eye"], ["t0"]),
        *[helper.make_node("MatMul", [f"t{step}", "eye"], [f"t{step + 1}"]) for step in range(products)],
        helper.make_node("ReduceSum", [f"t{products}", "axis"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "out"], ["y"]),
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, path.stem, shapes[:1], shapes[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def two_variants(folder: Path, *, name: str = "two", products: int = 4, cascade: bool = False) -> Path:
    """The package in `folder`: `full`, accuracy 1, `small`, accuracy 0.97, and where asked for a `cascade`, 0.99.

    The inputs are scores of four classes, so the small variant is sure of the rows that have one that stands out.
    """
    folder.mkdir(parents=True)
    full, small = save_laborious(folder / "full.onnx", FULL, products), save_laborious(folder / "small.onnx", SMALL, 0)
    variants = [
        Variant("full", "full.onnx", full.stat().st_size),
        Variant("small", "small.onnx", small.stat().st_size, accuracy=0.97, metric="top-1 agreement"),
    ]
    if cascade:
        both = Cascade(small="small", full="full", threshold=0.9, temperature=1.0, share=0.5)
        variants.append(Variant("cascade", "", 0, accuracy=0.99, metric="top-1 agreement", cascade=both))
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, 4)),),
        outputs=(Tensor("y", "FP32", (-1, 4)),),
        variants=tuple(variants),
        labels=("a", "b", "c", "d"),
        max_batch=8,
    )
    return write_package(folder / "package", manifest, {"full.onnx": full, "small.onnx": small})
