"""The models whose best fixed plan is sought: their packages, inputs by number, and how often they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airserve.core.call import Tensors
from benchmarks.link.cells import workload_folder
from benchmarks.link.workloads import kind_of, open_workload

COMMANDS = list[list[str]]
_SAMPLE = 24


@dataclass(frozen=True, slots=True)
class OracleModel:
    """`workload` has the frames; `tensors` says that they go as plain tensors. `device` is whether it may compute."""

    workload: str
    name: str
    every_s: float
    tensors: bool = False
    device: bool = False

    def inputs(self) -> Callable[[int], Tensors]:
        """Frame by number."""
        opened = open_workload(self.workload, workload_folder(self.workload))
        return opened.tensors if self.tensors else opened.inputs


MODELS = {
    "sensor": OracleModel("sensor", "sensor", 0.1),
    "sensor on device": OracleModel("sensor", "sensor", 0.1, device=True),
    "pictures": OracleModel("vision", "vision", 0.2),
    "pictures on device": OracleModel("vision", "vision", 0.2, device=True),
    "pixels": OracleModel("vision", "coded-pixels", 0.2, tensors=True),
    "text": OracleModel("text", "minilm", 0.1),
    "text on device": OracleModel("text", "minilm", 0.1, device=True),
}


def prepare(names: list[str]) -> COMMANDS:
    """Make what the models need, and return the commands that publish them."""
    commands: COMMANDS = []
    for workload in dict.fromkeys(MODELS[name].workload for name in names):
        commands += kind_of(workload).prepare(workload_folder(workload))
    if "pixels" in names:
        commands.append(["airserve", "publish", str(_coded_pixels())])
    return commands


def _coded_pixels() -> Path:
    """The model of float32 pixels with the codecs that its input may travel in, measured once."""
    import numpy as np

    from airserve.core.tensor import TensorSpec
    from airserve.models.link_package import LinkOptions, prepare
    from airserve.models.manifest import Manifest, Variant, tensor
    from airserve.models.onnx_limits import OnnxLimits
    from airserve.models.package import write_package

    folder = workload_folder("vision")
    made = folder / "coded-pixels"
    if made.exists():
        return made
    frames = MODELS["pixels"].inputs()
    np.save(folder / "pixels.npy", np.concatenate([frames(number)["inputs"] for number in range(_SAMPLE)]))
    model = folder / "pixels.onnx"
    manifest = Manifest(
        name="coded-pixels",
        engine="onnx",
        inputs=(tensor(TensorSpec("inputs", "FP32", (-1, 3, 224, 224))),),
        outputs=(tensor(TensorSpec("logits", "FP32", (-1, 1000))),),
        variants=(Variant("fp32", "model.onnx", model.stat().st_size),),
        max_batch=4,
    )
    plain = write_package(folder / "plain-pixels", manifest, {"model.onnx": model})
    prepare(plain, made, LinkOptions([], folder / "pixels.npy", 0.98), OnnxLimits())
    return made
