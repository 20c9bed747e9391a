"""EfficientNet-Lite0 on photographs, a frame each 200 ms."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from airserve.codecs.picture_pixels import centre
from airserve.core.call import Array, Tensors

RESIZE, SIZE, RESAMPLE = 256, 224, "bilinear"
_MEAN, _STD = np.float32(127), np.float32(128)
FLOOR = 0.995
"""The least share of a sample's pictures that must keep their best class. With 0.99, of which the goal speaks, a codec
passes by luck: webp:85 lost 2 of 256 pictures, and then 3 of 100 others."""

_SURE = 0.5
_SAMPLE, _FRAMES, _UNSURE = 256, 100, 200
CANDIDATES = ("webp:60", "webp:75", "webp:85", "webp:90", "webp:95", "jpeg:75", "jpeg:85", "jpeg:90", "jpeg:95")


class Vision:
    """`model` takes pictures, `tensor_model` is the same graph with normalised float32 pixels of [n, 3, 224, 224].

    The pictures are those of which the whole model is at least half sure; `facts.json` says how many that were.
    """

    model, tensor_model = "vision", "pixels"
    every_s, at_once, deadline_s = 0.2, 1, 0.1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._truth = np.load(folder / "truth.npy")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was found when the sample was made: pictures, and the codecs with accuracy and mean bytes."""
        found: dict[str, Any] = json.loads((self.folder / "facts.json").read_text())
        return found

    @property
    def fixed_codec(self) -> str:
        """The smallest codec that keeps the floor."""
        return str(self.facts["best"])

    @cached_property
    def pictures(self) -> list[bytes]:
        """All frames, as PNG."""
        return [file.read_bytes() for file in sorted((self.folder / "frames").iterdir())]

    def picture(self, number: int) -> bytes:
        """A PNG: the frame as the camera took it."""
        return self.pictures[number % len(self.pictures)]

    def inputs(self, number: int) -> Tensors:
        """The PNG; the client codes it."""
        image = np.empty(1, object)
        image[0] = self.picture(number)
        return {"image": image}

    def tensors(self, number: int) -> Tensors:
        """The pixels, scaled and normalised here."""
        return {"inputs": normalised(self.picture(number))}

    def judge(self, number: int, outputs: Mapping[str, Array]) -> bool:
        """Whether the best class is that of the whole model on the frame itself."""
        best = outputs["index"].ravel()[0] if "index" in outputs else outputs["logits"].argmax()
        return bool(best == self._truth[number % len(self._truth)])

    @staticmethod
    def prepare(folder: Path) -> list[list[str]]:
        """Pictures, truth, codecs measured on other pictures, and weights of 8 bits for the device."""
        if not (folder / "facts.json").exists():
            _make(folder)
        return [["airserve", "publish", str(folder / "package")],
                ["airserve", "publish", str(folder / "pixels.onnx"), "--name", Vision.tensor_model]]  # fmt: skip


def normalised(picture: bytes) -> Array:
    """[1, 3, 224, 224] float32, as the package's `[vision]` says."""
    pixels = centre(picture, size=SIZE, resize=RESIZE, resample=RESAMPLE, max_pixels=50_000_000)
    return np.ascontiguousarray(((pixels.astype(np.float32) - _MEAN) / _STD).transpose(2, 0, 1)[None])


def _make(folder: Path) -> None:
    from onnxruntime import InferenceSession
    from tests import large_models

    from airserve.models.link_package import LinkOptions, prepare
    from airserve.models.onnx_limits import OnnxLimits
    from airserve.models.optimise.eight_bits import quantise_static

    source = large_models.efficientnet()
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("sample", "frames"):
        (folder / name).mkdir(parents=True)
    shutil.copyfile(source / "model.onnx", folder / "pixels.onnx")
    session = InferenceSession(folder / "pixels.onnx", providers=["CPUExecutionProvider"])
    counts: Counter[str] = Counter()
    sample = list(islice(_sure(session, 1, counts), _SAMPLE))
    frames = list(islice(_sure(session, 2, counts), _FRAMES))
    for name, pictures in (("sample", sample), ("frames", frames)):
        for at, (_, picture, _) in enumerate(pictures):
            (folder / name / f"{at:03}.png").write_bytes(picture)
    np.save(folder / "truth.npy", np.array([best for _, _, best in frames]))
    quantise_static(
        folder / "pixels.onnx", folder / "device.onnx", [{"inputs": normalised(each)} for _, each, _ in sample[::8]]
    )
    options = LinkOptions(CANDIDATES, folder / "sample", FLOOR, str(folder / "device.onnx"))
    named = _renamed(source, folder / "named", Vision.model)
    prepared = prepare(named, folder / "package", options, OnnxLimits())
    _write_facts(folder, counts, Counter(name for name, _, _ in frames), prepared)


def _sure(session: Any, seed: int, counts: Counter[str]) -> Any:
    """Crops of which the model is at least half sure: name, PNG, best class. Counts what was looked at."""
    from benchmarks.link.workloads.pictures import crops

    for name, picture in crops(seed):
        scores = session.run(["logits"], {"inputs": normalised(picture)})[0][0]
        powers = np.exp(scores - scores.max())
        counts["looked at"] += 1
        if powers.max() / powers.sum() >= _SURE:
            counts["kept"] += 1
            yield name, picture, int(scores.argmax())


def _renamed(package: Path, target: Path, name: str) -> Path:
    import msgspec

    from airserve.models.manifest import FILE_NAME
    from airserve.models.package import open_package, write_package

    opened = open_package(package)
    manifest = msgspec.structs.replace(opened.manifest, name=name)
    return write_package(target, manifest, {each: package / each for each in opened.files if each != FILE_NAME})


def unsure(folder: Path, codecs: Sequence[str]) -> dict[str, float]:
    """The share of pictures that keep their best class, however sure the whole model is of it."""
    from benchmarks.link.workloads.pictures import crops

    return kept(folder, [picture for _, picture in islice(crops(3), _UNSURE)], codecs)


def kept(folder: Path, pictures: Sequence[bytes], codecs: Sequence[str]) -> dict[str, float]:
    """The share of pictures whose best class is the same after each codec."""
    from onnxruntime import InferenceSession

    from airserve.codecs.pictures import recode

    session = InferenceSession(folder / "pixels.onnx", providers=["CPUExecutionProvider"])

    def best(picture: bytes) -> int:
        return int(session.run(["logits"], {"inputs": normalised(picture)})[0].argmax())

    def after(codec: str) -> list[int]:
        return [best(recode(each, resize=RESIZE, size=SIZE, codec=codec, resample=RESAMPLE)) for each in pictures]

    whole = np.array([best(picture) for picture in pictures])
    return {codec: float(np.mean(np.array(after(codec)) == whole)) for codec in codecs}


def _write_facts(folder: Path, counts: Counter[str], frames: Counter[str], prepared: Any) -> None:
    from airserve.models.package import open_package

    device = next(each for each in open_package(prepared.folder).manifest.variants if each.name == "device")
    codecs = {each.codec: [each.accuracy, each.bytes] for each in prepared.measured if each.tensor == "image"}
    good = {name: size for name, (accuracy, size) in codecs.items() if accuracy >= FLOOR}
    jpeg = min((name for name in good if name.startswith("jpeg")), key=lambda name: good[name])
    best = min(good, key=lambda name: good[name])
    facts = {
        **counts,
        "frames": dict(frames),
        "codecs": codecs,
        "best": best,
        "jpeg": jpeg,
        "asked about": kept(folder, Vision(folder).pictures, list(codecs)),
        "unsure": unsure(folder, (best, jpeg)),
        "device": [device.accuracy, device.size_bytes],
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))
