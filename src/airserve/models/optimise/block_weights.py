"""Few bits for the weights of matrix products, in blocks with a scale each, and eight for embeddings of tokens.

For transformers, whose bytes are such weights. A block's scale follows its weights, and activations get scales by block
too, so this is more accurate than one scale for a whole tensor. MatMulNBits of ONNX Runtime (com.microsoft), rounding
to the nearest; source: Dettmers and Zettlemoyer, "The case for 4-bit precision", 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from airserve.models.optimise.graphs import read_graph, write_graph
from airserve.models.optimise.method import Method, Original

_LEAST_VALUES = 1 << 14
# "The minimum accuracy level of input A": 4 lets the products be computed in 8 bits, which is what makes them fast.
_COMPUTED_IN_INT8 = 4


def with_bits(bits: int, block: int) -> Callable[[Original, Path], None]:
    """A maker of graphs whose weights have `bits` in blocks of `block` along the product."""

    def make(original: Original, target: Path) -> None:
        quantiser = MatMulNBitsQuantizer(
            read_graph(original), bits=bits, block_size=block, is_symmetric=True, accuracy_level=_COMPUTED_IN_INT8
        )
        quantiser.process()
        products = target.with_suffix(".products.onnx")
        onnx.save(quantiser.model.model, products)
        quantize_dynamic(products, target, weight_type=QuantType.QInt8, op_types_to_quantize=["Gather"])
        write_graph(onnx.load(target), target)

    return make


def fits(original: Original) -> str | None:
    """A graph of matrix products with large constant weights."""
    graph = read_graph(original).graph
    large = {each.name for each in graph.initializer if np.prod(each.dims, dtype=float) >= _LEAST_VALUES}
    if not any(node.op_type == "MatMul" and node.input[1] in large for node in graph.node):
        return "the graph has no matrix product with large weights"
    return None


METHODS = (
    Method("int8-weights", "weights of 8 bits in blocks of 128", fits, with_bits(8, 128), steps=2),
    Method("int4-weights", "weights of 4 bits in blocks of 32, embeddings of 8", fits, with_bits(4, 32), steps=2),
)
