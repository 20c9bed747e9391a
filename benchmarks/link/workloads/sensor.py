"""64 KB of a sensor at 20 Hz: 128 channels of 128 samples, and a small network that says which of 8 patterns it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors

_ROWS, _FRAMES, _CLASSES = 256, 100, 8


class Sensor:
    """`model` and `tensor_model` are the same: float32 [n, 128, 128] in, scores of 8 classes out."""

    model = tensor_model = "sensor"
    every_s, at_once, deadline_s = 0.05, 8, 0.1
    fixed_codec = "int8c+zstd"

    def __init__(self, folder: Path) -> None:
        self._frames = np.load(folder / "frames.npy")
        self._truth = np.load(folder / "truth.npy")

    def inputs(self, number: int) -> Tensors:
        """One frame."""
        at = number % len(self._frames)
        return {"x": self._frames[at : at + 1]}

    def tensors(self, number: int) -> Tensors:
        """The same."""
        return self.inputs(number)

    def judge(self, number: int, outputs: Mapping[str, Array]) -> bool:
        """Whether the best class is that of the frame in full precision."""
        return bool(outputs["scores"].argmax() == self._truth[number % len(self._truth)])

    @staticmethod
    def prepare(folder: Path) -> list[list[str]]:
        """Frames, a model whose codecs were measured on other frames, and the same weights for the device."""
        if not (folder / "truth.npy").exists():
            _make(folder)
        return [["airserve", "publish", str(folder / "package")]]


def frames(seed: int, count: int) -> tuple[Array, Array]:
    """[count, 128, 128] float32 and their patterns: waves in 8 bands of frequency, with noise of a tenth of them."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, _CLASSES, count)
    samples, channels = np.arange(128) / 128, np.arange(128)[:, None]
    speeds = 1.0 + 2 * patterns[:, None, None] + rng.uniform(-0.3, 0.3, (count, 1, 1))
    phases = rng.uniform(0, 2 * np.pi, (count, 1, 1)) + channels / 9
    waves = np.sin(2 * np.pi * speeds * samples + phases)
    return (waves + rng.normal(0, 0.1, waves.shape)).astype(np.float32), patterns


def _make(folder: Path) -> None:
    import onnx

    from airserve.core.tensor import TensorSpec
    from airserve.models.link_package import SAME, LinkOptions, prepare
    from airserve.models.manifest import Manifest, Variant, tensor
    from airserve.models.onnx_limits import OnnxLimits
    from airserve.models.package import write_package

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(), folder / "model.onnx")
    size = (folder / "model.onnx").stat().st_size
    manifest = Manifest(
        name=Sensor.model,
        engine="onnx",
        inputs=(tensor(TensorSpec("x", "FP32", (-1, 128, 128))),),
        outputs=(tensor(TensorSpec("scores", "FP32", (-1, _CLASSES))),),
        labels=tuple(f"band {each}" for each in range(_CLASSES)),
        variants=(Variant("fp32", "model.onnx", size),),
        max_batch=16,
    )
    plain = write_package(folder / "plain", manifest, {"model.onnx": folder / "model.onnx"})
    np.save(folder / "sample.npy", frames(1, _ROWS)[0])
    prepare(plain, folder / "package", LinkOptions([], folder / "sample.npy", 0.99, SAME), OnnxLimits())
    shown, truth = frames(2, _FRAMES)
    np.save(folder / "frames.npy", shown)
    np.save(folder / "truth.npy", truth)


def _graph() -> object:
    """The mean power of each band: inner products with a sine and a cosine, squared, over all channels."""
    from onnx import TensorProto, helper, numpy_helper

    angles = 2 * np.pi * (1.0 + 2 * np.arange(_CLASSES)) * np.arange(128)[:, None] / 128
    bank = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32) / 128
    both = np.tile(np.eye(_CLASSES, dtype=np.float32), (2, 1))
    weights = [numpy_helper.from_array(bank, "bank"), numpy_helper.from_array(both, "both")]
    nodes = [
        helper.make_node("MatMul", ["x", "bank"], ["products"]),
        helper.make_node("Mul", ["products", "products"], ["powers"]),
        helper.make_node("ReduceMean", ["powers"], ["means"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["means", "both"], ["scores"]),
    ]
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 128, 128])
    given = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", _CLASSES])
    graph = helper.make_graph(nodes, "bands", [taken], [given], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
