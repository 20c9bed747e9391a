"""all-MiniLM-L6-v2 on sentences, one each 200 ms."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors

ALIKE = 0.95
"""The least cosine between an embedding and the whole model's for it to count as the same answer."""

_FRAMES = 40


class Text:
    """`model` and `tensor_model` are the same: a sentence in, its embedding of 384 numbers out."""

    model = tensor_model = "minilm"
    every_s, at_once, deadline_s = 0.2, 1, 0.1
    fixed_codec = "raw"

    def __init__(self, folder: Path) -> None:
        self._sentences = (folder / "frames.txt").read_text().splitlines()
        self._truth = np.load(folder / "truth.npy")

    def inputs(self, number: int) -> Tensors:
        """One sentence."""
        text = np.empty(1, object)
        text[0] = self._sentences[number % len(self._sentences)].encode()
        return {"text": text}

    def tensors(self, number: int) -> Tensors:
        """The same."""
        return self.inputs(number)

    def judge(self, number: int, outputs: Mapping[str, Array]) -> bool:
        """Whether the embedding is `ALIKE` to the whole model's; both have length 1."""
        return float(outputs["embedding"].ravel() @ self._truth[number % len(self._truth)]) >= ALIKE

    @staticmethod
    def prepare(folder: Path) -> list[list[str]]:
        """Sentences, their embeddings, and weights of 8 bits for the device."""
        if not (folder / "truth.npy").exists():
            _make(folder)
        return [["airserve", "publish", str(folder / "package")]]


def sentences() -> list[str]:
    """Sentences of 40 to 200 letters from scikit-learn's descriptions of its data sets."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None, "scikit-learn is not installed"
    texts = [file.read_text() for file in sorted((Path(spec.origin).parent / "datasets/descr").glob("*.rst"))]
    prose = (" ".join(part.split()) for text in texts for part in re.split(r"(?<=[.?!])\s+|\n\s*\n", text))
    plain = [
        each
        for each in prose
        if 40 <= len(each) <= 200 and "--" not in each and re.fullmatch(r"[A-Z][\w ,.'()-]+", each)
    ]
    return list(dict.fromkeys(plain))


def _make(folder: Path) -> None:
    from tests import large_models

    from airserve.engines import load_model
    from airserve.models.link_package import LinkOptions, prepare
    from airserve.models.onnx_limits import OnnxLimits
    from airserve.models.optimise.eight_bits import quantise_weights
    from benchmarks.engine_alone import source

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = sentences()
    asked, sample = found[:_FRAMES], found[_FRAMES:]
    (folder / "frames.txt").write_text("\n".join(asked))
    (folder / "sample.txt").write_text("\n".join(sample))
    package = large_models.minilm()
    quantise_weights(package / "model.onnx", folder / "device.onnx")
    options = LinkOptions(data=folder / "sample.txt", floor=0.99, device=str(folder / "device.onnx"), codecs=None)
    prepare(package, folder / "package", options, OnnxLimits())
    model = load_model("onnx", source(package), threads=1)
    rows = [model.run({"text": np.array([each.encode()], object)})["embedding"][0] for each in asked]
    model.close()
    np.save(folder / "truth.npy", np.array(rows))
