"""Small originals for the tests of variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from airserve.engines.options import Vision
from airserve.models.onnx_import import package_onnx
from airserve.models.optimise.labelled_sample import LabelledSample, read_labelled
from airserve.models.optimise.method import Original
from airserve.models.package import open_package
from airserve.models.vision_package import package_vision
from tests.models.splitting.networks import CLASSES, save, small_cnn

WIDTH = 256


def wide(folder: Path) -> Original:
    """Two matrix products [-1, 256] -> [-1, 256] with a rectifier between, behind a folded constant."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.normal(size=(WIDTH, WIDTH)) / 16,
        "w2": random.normal(size=(WIDTH, WIDTH)) / 16,
        "half": np.array(0.5),
        "two": np.array(2.0),
    }
    nodes = [
        helper.make_node("Mul", ["half", "two"], ["one"]),
        helper.make_node("Mul", ["x", "one"], ["same"]),
        helper.make_node("MatMul", ["same", "w1"], ["m1"]),
        helper.make_node("Relu", ["m1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "wide.onnx")
    np.save(folder / "rows.npy", random.normal(size=(48, WIDTH)).astype(np.float32))
    package = package_onnx(folder / "wide.onnx", folder / "package", name="wide")
    return _original(package, folder / "rows.npy")[0]


def pictures(folder: Path) -> tuple[Original, LabelledSample]:
    """A classifier of colours of 64×64 pictures, and noisy pictures in a folder."""
    vision = Vision(size=64, resize=72, mean=(127.0,) * 3, std=(64.0,) * 3, top_k=3)
    folder.mkdir(parents=True, exist_ok=True)
    package = package_vision(
        save(small_cnn(64), folder / "model.onnx"), folder / "package", name="colours", labels=CLASSES, vision=vision
    )
    random = np.random.default_rng(3)
    (folder / "data").mkdir()
    for at in range(24):
        plain = np.full((80, 96, 3), 40.0) + np.eye(3)[at % 3] * 150
        noisy = (plain + random.normal(0, 30, plain.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "data" / f"{at:02}.png")
    return _original(package, folder / "data")


def _original(package: Path, data: Path) -> tuple[Original, LabelledSample]:
    manifest = open_package(package).manifest
    sample = read_labelled(data, manifest, None)
    return Original(package, manifest, sample.calibration), sample
