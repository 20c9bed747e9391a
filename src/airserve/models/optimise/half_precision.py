"""Sixteen bits in place of 32 (IEEE 754 binary16): half the bytes, next to no loss.

On processors without arithmetic in half precision each operation converts, so this is smaller and not faster.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from airserve.models.optimise.graphs import read_graph, write_graph
from airserve.models.optimise.method import Method, Original


def make_half(original: Original, target: Path) -> None:
    """Weights and operations in half precision; inputs and outputs keep their types, so callers notice nothing."""
    converted = OnnxModel(convert_float_to_float16(read_graph(original), keep_io_types=True))
    # The conversion appends casts wherever it needs them; a graph lists what is computed first, first.
    converted.topological_sort()
    write_graph(converted.model, target)


def fits(original: Original) -> str | None:
    """A graph with weights in single precision."""
    weights = read_graph(original).graph.initializer
    if not any(each.data_type == onnx.TensorProto.FLOAT for each in weights):
        return "the graph has no weights in float32"
    return None


METHODS = (Method("fp16", "weights of 16 bits", fits, make_half),)
