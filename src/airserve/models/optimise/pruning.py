"""A narrower network: the channels that matter least are left out of every layer, and the rest learns to do without.

A channel matters as much as what it sends on: the mean size of its activations over the training set times the weights
that take them, the measure of Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda),
2024, summed over a channel. The graph keeps its nodes, so a pruned one is smaller and faster on any runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError
from airserve.models.optimise.channels import Layer, layers, strength, without
from airserve.models.optimise.graphs import read_graph, write_graph
from airserve.models.optimise.method import Method, Original
from airserve.models.optimise.teaching import lesson, taught, why_not
from airserve.models.optimise.torch_graph import TorchGraph, unsupported
from airserve.models.optimise.torch_training import train

_SHARES = (0.25, 0.5, 0.75)
_ROWS = 256
_STEP = 4
"""Runtimes compute some channels at once; a layer of many keeps a multiple of so many."""


def prune(original: Original, target: Path, share: float) -> None:
    """Write the original's graph without `share` (0 to 1) of the channels of each layer, fine-tuned, to `target`.

    Raises `BadPackageError` where there is no channel that could go, `ModelFailedError` where learning fails.
    """
    model, output = read_graph(original), _output(original)
    found = layers(model, output)
    kept = [(layer, _kept(scores, share)) for layer, scores in _scored(model, output, found, _rows(original))]
    kept = [(layer, channels) for layer, channels in kept if len(channels) < layer.count]
    if not kept:
        raise BadPackageError("no layer has channels enough to leave some out")
    pruned = without(model, kept)
    student = TorchGraph(pruned, output)
    train(student.run, list(student.parameters.values()), lesson(original))
    student.write_to(pruned)
    write_graph(pruned, target)


def fits(original: Original) -> str | None:
    """A graph of layers that can be trained here, with a training set, and channels that may go."""
    if (reason := why_not(original)) is not None:
        return reason
    model, output = read_graph(original), _output(original)
    if names := unsupported(model, output):
        return f"the graph has {', '.join(names)}, which cannot be trained here"
    if not layers(model, output):
        return "the graph has no layer whose channels meet other layers alone"
    return None


def _output(original: Original) -> str:
    output = taught(original.manifest)
    assert output is not None, "why_not said so"  # noqa: S101
    return output.name


def _rows(original: Original) -> Tensors:
    """Rows spread over the training set, to see what channels say to them."""
    assert original.training is not None, "why_not said so"  # noqa: S101
    inputs = original.training.inputs
    count = len(next(iter(inputs.values())))
    some = np.unique(np.linspace(0, count - 1, min(count, _ROWS)).astype(np.int64))
    return {name: array[some] for name, array in inputs.items()}


def _scored(model: onnx.ModelProto, output: str, found: Sequence[Layer], rows: Tensors) -> list[tuple[Layer, Array]]:
    """How much each channel of each layer matters, float64 [count]."""
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    with torch.inference_mode():
        values = TorchGraph(model, output).values(rows)
    scored = []
    for layer in found:
        activations = np.abs(values[layer.tensor].numpy())
        size = activations.reshape(len(activations), layer.count, -1).mean(axis=(0, 2), dtype=np.float64)
        scored.append((layer, size * strength(layer, weights)))
    return scored


def _kept(scores: Array, share: float) -> Array:
    """The indices of the channels that stay, in their order."""
    count = max(1, round(len(scores) * (1 - share)))
    if len(scores) >= 4 * _STEP:
        count = max(_STEP, round(count / _STEP) * _STEP)
    return np.sort(np.argsort(-scores, kind="stable")[:count])


METHODS = tuple(
    Method(
        name=f"prune-{round(100 * share)}",
        what=f"{round(100 * share)} % of the channels of each layer left out, the rest trained again",
        fits=fits,
        make=partial(prune, share=share),
        steps=30,
    )
    for share in _SHARES
)
