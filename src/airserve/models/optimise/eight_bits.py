"""Eight bits in place of 32: ONNX Runtime's quantisation, and its results made fit for a service.

Static: weights and activations, the latter in ranges that a sample gives them, a scale for each channel, written as
QuantizeLinear and DequantizeLinear around the operations (QDQ), which the runtime fuses. Dynamic: weights alone;
activations are quantised as they come. Source: Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018; ONNX Runtime, "Quantize ONNX Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from airserve.core.call import Tensors
from airserve.models.optimise.graphs import kinds, write_graph
from airserve.models.optimise.method import Method, Original

MOST_CALIBRATION_ROWS = 64
_WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Sequence[Tensors]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> Tensors | None:
        return next(self._left, None)


def quantise_static(source: Path, target: Path, inputs: Sequence[Tensors]) -> None:
    """Weights and activations, the latter in the ranges that `inputs` (of the graph) give them: for convolutions."""
    made_ready = target.with_suffix(".ready.onnx")
    _make_ready(source, made_ready)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(made_ready), str(target), _Reader(inputs), per_channel=True, **types)
    made_ready.unlink()
    write_graph(onnx.load(target), target)


def quantise_weights(source: Path, target: Path) -> None:
    """Weights alone, a scale for each channel; activations are quantised as they come: for transformers."""
    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
    write_graph(onnx.load(target), target)


def _make_ready(source: Path, target: Path) -> None:
    """Folded, fused, and with the shapes of tensors inside, as far as they can be known."""
    source, target = source.resolve(), target.resolve()
    try:
        # Where it fails the library leaves the graph with all its weights in the working folder.
        with TemporaryDirectory() as scratch, chdir(scratch):
            quant_pre_process(str(source), str(target))
    except Exception:  # the library raises its base class where shapes depend on values
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def fits_static(original: Original) -> str | None:
    """Whether there is something to quantise and a sample to calibrate on."""
    if not original.calibration:
        return "the sample is too small to calibrate on a part of it"
    return fits_weights(original)


def fits_weights(original: Original) -> str | None:
    """Whether the graph has weights that can be quantised."""
    if not kinds(original) & _WEIGHTED:
        return "the graph has no convolution and no matrix product"
    return None


def make_static(original: Original, target: Path) -> None:
    """Calibrated on at most `MOST_CALIBRATION_ROWS` rows of the part of the sample that nothing is measured on."""
    from airserve.models.optimise.graph_inputs import graph_inputs

    quantise_static(original.file, target, graph_inputs(original, original.calibration[:MOST_CALIBRATION_ROWS]))


def make_dynamic(original: Original, target: Path) -> None:
    """See `quantise_weights`."""
    quantise_weights(original.file, target)


METHODS = (
    Method("int8-dynamic", "weights of 8 bits, activations as they come", fits_weights, make_dynamic),
    Method(
        "int8-static", "weights and activations of 8 bits, calibrated on a sample", fits_static, make_static, steps=4
    ),
)
