"""What codecs make of tensors and pictures on their way to the cloud: bytes, times, and how well the answers agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from airserve.codecs.frame import decode, encode
from airserve.core.call import Array, Tensors
from airserve.engines.options import Vision
from airserve.models.splitting.answers import Answers
from airserve.models.splitting.profile import cpu_seconds

_TIMED = 3


@dataclass(frozen=True, slots=True)
class Coding:
    """One codec: mean bytes of a row, its agreement with the exact answer, seconds to code and decode a row here."""

    codec: str
    bytes: float
    accuracy: float
    encode_s: float = 0.0
    decode_s: float = 0.0


def code_features(
    tail: Answers, tensor: str, rows: Array, exact: Sequence[Tensors], codecs: Sequence[str]
) -> tuple[Coding, ...]:
    """Each codec on `rows` [n, …] of the tensor that `tail` takes, coded one by one as a device sends them."""
    return tuple(_coding(tail, tensor, rows, exact, codec) for codec in codecs)


def _coding(tail: Answers, tensor: str, rows: Array, exact: Sequence[Tensors], codec: str) -> Coding:
    frames = [encode(rows[at : at + 1], codec) for at in range(len(rows))]
    room = rows[:1].nbytes
    decoded = np.concatenate([decode(frame, max_bytes=room) for frame in frames])
    return Coding(
        codec,
        float(np.mean([len(frame) for frame in frames])),
        tail.compared({tensor: decoded}, exact)[1],
        cpu_seconds(lambda: encode(rows[:1], codec), _TIMED),
        cpu_seconds(lambda: decode(frames[0], max_bytes=room), _TIMED),
    )


def code_pictures(
    accuracy: Callable[[Array], float], images: Array, codecs: Sequence[str], vision: Vision
) -> tuple[Coding, ...]:
    """`images` BYTES [n] as they are, and made small by each of `codecs`; `accuracy` is that of what pictures give."""
    from airserve.codecs.pictures import recode

    found = [Coding("as it is", float(np.mean([len(image) for image in images])), 1.0)]
    for codec in codecs:
        small = np.empty(len(images), dtype=object)
        make = partial(recode, resize=vision.resize, codec=codec, resample=vision.resample)
        small[:] = [make(image) for image in images]
        mean = float(np.mean([len(image) for image in small]))
        found.append(Coding(codec, mean, accuracy(small), cpu_seconds(partial(make, images[0]), _TIMED)))
    return tuple(found)
