"""The same graph with less in it: constants folded, what is not needed left out, operations fused.

`onnxslim` (inisis, github.com/inisis/OnnxSlim) and ONNX Runtime's own optimiser, which would do its part at each load;
here it is done once. Saved is its extended level, whose fused operations run on every processor; the level above lays
tensors out for the processor at hand, and its files are no use elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import onnxslim  # type: ignore[import-untyped]

from airserve.core.errors import BadPackageError
from airserve.models.optimise.graphs import write_graph
from airserve.models.optimise.method import Method, Original


def make_slim(original: Original, target: Path) -> None:
    """Slimmed, then optimised; a graph that the runtime does not take back is refused."""
    slimmed = target.with_suffix(".slim.onnx")
    onnx.save(onnxslim.slim(onnx.load(original.file)), slimmed)
    optimise_offline(slimmed, target)
    write_graph(onnx.load(target), target)


def optimise_offline(source: Path, target: Path) -> None:
    """What ONNX Runtime makes of a graph at its extended level. Raises `BadPackageError` where it does not load."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadPackageError(f"ONNX Runtime cannot optimise it: {str(error).splitlines()[0][:200]}") from None


def fits(original: Original) -> str | None:
    """Every graph."""
    return None


METHODS = (Method("slim", "the same graph with less in it", fits, make_slim),)
