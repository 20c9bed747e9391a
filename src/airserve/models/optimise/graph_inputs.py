"""What the graph of a package takes for the calls of a sample: the step before it, `[vision]` or `[text]`, alone."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.core.call import Tensors
from airserve.models.onnx_signature import signature_of
from airserve.models.optimise.graphs import read_graph
from airserve.models.optimise.method import Original


def graph_inputs(original: Original, calls: Sequence[Tensors]) -> list[Tensors]:
    """A row of the graph's inputs for each call of one row."""
    manifest = original.manifest
    if manifest.vision is not None:
        # Only here, as below: other models need no Pillow.
        from airserve.engines.pixels import Pixels

        inputs, _ = signature_of(read_graph(original).graph, original.variant.file)
        pixels = Pixels(manifest.vision)
        return [{inputs[0].name: pixels.of(call["image"])} for call in calls]
    if manifest.text is not None:
        from airserve.engines.session import Session
        from airserve.engines.text import TextModel

        session = Session(original.file, threads=1)
        tokenizer = (original.folder / manifest.text.tokenizer).read_bytes()
        model = TextModel(session, manifest.signature, manifest.text, tokenizer)
        found = [model.graph_inputs(call["text"]) for call in calls]
        model.close()
        return found
    return list(calls)
