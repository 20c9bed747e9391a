"""A smaller picture: the same weights look at fewer pixels, and every convolution costs in proportion.

The graph's own input then says its size, and the `[vision]` step scales to that. Source: Howard et al., "MobileNets",
2017, §3.4 (resolution multiplier).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from airserve.core.errors import BadPackageError
from airserve.engines.options import Vision
from airserve.models.optimise.graphs import read_graph, write_graph
from airserve.models.optimise.method import Method, Original

_LEAST_SIDE = 32


def at_side(share: float) -> Callable[[Original, Path], None]:
    """A maker of the graph for pictures whose side is `share` of the original's, a multiple of 32 where it can be."""

    def make(original: Original, target: Path) -> None:
        vision = original.manifest.vision
        assert vision is not None, "it fits models of pictures alone"  # noqa: S101
        side = round(vision.size * share / _LEAST_SIDE) * _LEAST_SIDE
        if not _LEAST_SIDE <= side < vision.size:
            raise BadPackageError(f"pictures of {vision.size} pixels a side are small already")
        write_graph(_resized(read_graph(original), vision, side), target)

    return make


def fits(original: Original) -> str | None:
    """A `[vision]` model whose graph has convolutions."""
    if original.manifest.vision is None:
        return "the model takes no pictures"
    return None


def _resized(model: onnx.ModelProto, vision: Vision, side: int) -> onnx.ModelProto:
    weights = {each.name for each in model.graph.initializer}
    (given,) = [each for each in model.graph.input if each.name not in weights]
    first = 2 if vision.layout == "NCHW" else 1
    for axis in given.type.tensor_type.shape.dim[first : first + 2]:
        axis.dim_value = side
    # What was inferred of the shapes inside is of the larger picture.
    del model.graph.value_info[:]
    return model


METHODS = tuple(
    Method(f"resolution-{percent}", f"pictures of {percent} % of the side", fits, at_side(percent / 100))
    for percent in (86, 71, 57)
)
