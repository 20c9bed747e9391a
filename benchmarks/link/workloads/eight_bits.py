"""Models in 8 bits, for devices: ONNX Runtime's quantisation, and its results made fit for a service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from airserve.core.call import Tensors


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Sequence[Tensors]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> Tensors | None:
        return next(self._left, None)


def quantised(source: Path, target: Path, inputs: Sequence[Tensors]) -> None:
    """Weights and activations, the latter in the ranges that `inputs` give them: for convolutions."""
    made_ready = target.with_suffix(".ready.onnx")
    quant_pre_process(str(source), str(made_ready))
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(made_ready), str(target), _Reader(inputs), per_channel=True, **kinds)
    made_ready.unlink()
    _drop_unused_operators(target)


def quantised_weights(source: Path, target: Path) -> None:
    """Weights alone; activations are quantised as they come: for transformers."""
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    _drop_unused_operators(target)


def _drop_unused_operators(file: Path) -> None:
    """The tool names more sets of operators than it uses, and a service refuses what it does not know."""
    model = onnx.load(file)
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, file)
