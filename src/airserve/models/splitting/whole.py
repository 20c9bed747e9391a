"""What it costs to send the uncut model its input: as numbers, coded, or as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.engines.options import Vision
from airserve.models.splitting.answers import Answers
from airserve.models.splitting.codings import Coding, code_features, code_pictures
from airserve.models.splitting.profile import cpu_seconds
from airserve.models.splitting.sample import Sample

PICTURE_CODECS = ("jpeg:95", "jpeg:85", "jpeg:75", "webp:90", "webp:75", "webp:50")
USUAL = ("jpeg:85", "jpeg:75", "webp:75")
"""What apps send anyway: a split has to beat them, whatever they cost in accuracy."""
RAW = "fp32"


@dataclass(frozen=True, slots=True)
class Uploads:
    """How input may reach the whole model: `codings` of it, and the seconds that making a picture the input takes."""

    codings: tuple[Coding, ...]
    prepare_s: float = 0.0


def uploads(
    whole: Answers, vision: Vision | None, sample: Sample, exact: Sequence[Tensors], codecs: Sequence[str]
) -> Uploads:
    """Numbers are coded by `codecs` where they are one tensor of float32, a picture by `PICTURE_CODECS`."""
    raw = Coding(RAW, float(sum(array[:1].nbytes for array in sample.inputs.values())), 1.0)
    if vision is not None:
        return _pictures(whole, vision, sample, exact, raw)
    name, *others = sample.inputs
    if others or sample.inputs[name].dtype != np.float32:
        return Uploads((raw,))
    lossy = [codec for codec in codecs if codec != RAW]
    return Uploads((raw, *code_features(whole, name, sample.inputs[name], exact, lossy)))


def _pictures(whole: Answers, vision: Vision, sample: Sample, exact: Sequence[Tensors], raw: Coding) -> Uploads:
    from airserve.engines.pixels import Pixels

    assert sample.images is not None, "a [vision] model is measured on pictures"  # noqa: S101
    pixels, (name,), first = Pixels(vision), sample.inputs, sample.images[:1]

    def accuracy(images: Array) -> float:
        return whole.compared({name: pixels.of(images)}, exact)[1]

    coded = code_pictures(accuracy, sample.images, PICTURE_CODECS, vision)
    return Uploads((raw, *coded), cpu_seconds(lambda: pixels.of(first)))
