"""What a `[vision]` or `[text]` section asks of the rest of the manifest: signatures, and values that make sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airserve.core.tensor import TensorSpec
from airserve.engines.options import Text, Vision

if TYPE_CHECKING:
    from airserve.models.manifest import Manifest

Specs = tuple[TensorSpec, ...]

_MOST_PIXELS_A_SIDE = 8192


def vision_signature(k: int) -> tuple[Specs, Specs]:
    """Inputs and outputs of a model with a `[vision]` step that gives the best `k` labels."""
    return (TensorSpec("image", "BYTES", (-1,)),), (
        TensorSpec("label", "BYTES", (-1, k)),
        TensorSpec("probability", "FP32", (-1, k)),
        TensorSpec("index", "INT32", (-1, k)),
    )


def text_signature(dimensions: int) -> tuple[Specs, Specs]:
    """Inputs and outputs of a model with a `[text]` step that gives embeddings of so many dimensions."""
    return (TensorSpec("text", "BYTES", (-1,)),), (
        TensorSpec("embedding", "FP32", (-1, dimensions)),
        TensorSpec("tokens", "INT32", (-1,)),
    )


def step_problems(manifest: Manifest) -> Iterator[str]:
    """Why the sections and the rest of `manifest` do not fit, as sentences."""
    if manifest.vision is None and manifest.text is None:
        return
    if manifest.vision is not None and manifest.text is not None:
        yield "a model has a [vision] or a [text] section, not both"
        return
    if manifest.engine != "onnx":
        yield f"[vision] and [text] are steps of the engine onnx, not of {manifest.engine}"
    if manifest.max_batch < 1:
        yield "a model with a [vision] or [text] section has a max_batch of 1 or more"
    signature = manifest.signature
    wanted: tuple[Specs, Specs]
    if manifest.vision is not None:
        yield from _vision_problems(manifest.vision)
        # k, and d below, are the model's own; what comes from the manifest only has to be one number throughout.
        wanted = vision_signature(_second_axis(signature.outputs))
        if manifest.labels and manifest.vision.top_k > 0:
            wanted = vision_signature(min(manifest.vision.top_k, len(manifest.labels)))
    else:
        assert manifest.text is not None, "one of the two is there"  # noqa: S101
        yield from _text_problems(manifest.text)
        wanted = text_signature(_second_axis(signature.outputs))
    if manifest.split is not None:
        # The head on the device did the first half of the step: the tail takes features.
        if manifest.text is not None:
            yield "a [text] model is not split: each text is shorter than its features"
        wanted = signature.inputs, wanted[1]
        if len(signature.inputs) != 1 or signature.inputs[0].datatype != "FP32":
            yield "the tail of a split takes one FP32 tensor"
    if (signature.inputs, signature.outputs) != wanted:
        said = [f"{spec.name} {spec.datatype} {list(spec.shape)}" for specs in wanted for spec in specs]
        yield f"its section asks for the input {said[0]} and the outputs {', '.join(said[1:])}"


def _second_axis(outputs: Specs) -> int:
    return outputs[0].shape[1] if outputs and len(outputs[0].shape) == 2 and outputs[0].shape[1] > 0 else 1


def _vision_problems(vision: Vision) -> Iterator[str]:
    if not 1 <= vision.size <= vision.resize <= _MOST_PIXELS_A_SIDE:
        yield f"[vision] has 1 ≤ size ≤ resize ≤ {_MOST_PIXELS_A_SIDE}"
    if not all(vision.std):
        yield "[vision] std is not 0"
    if vision.top_k < 1 or vision.max_pixels < 1:
        yield "[vision] top_k and max_pixels are 1 or more"


def _text_problems(text: Text) -> Iterator[str]:
    if text.max_tokens < 3:
        yield "[text] max_tokens is 3 or more: two are special"
    if not text.tokenizer:
        yield "[text] tokenizer names a file of the package"
