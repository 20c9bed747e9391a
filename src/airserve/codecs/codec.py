"""The name of a codec: `LOSSY[:number][+LOSSLESS]`, such as `int8c+zstd`, `topk:0.1+lz4` or `webp:60`.

The lossy stage makes numbers coarse, the lossless one packs what is left. `c` at the end of a lossy stage: one scale a
channel (axis 1, or the last axis where there are at most two), not one for the tensor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from airserve.core.errors import InvalidInputError

BITS = {"int8": 8, "int8c": 8, "int4": 4, "int4c": 4, "int2": 2, "int2c": 2}
"""The lossy stages that make integers, and how many bits each has."""
LOSSY = ("fp32", "fp16", "bf16", *BITS, "topk")
LOSSLESS = ("none", "zstd", "lz4", "shuffle", "ans")
PICTURES = ("webp", "jpeg")

_GRAMMAR = re.compile(r"([a-z][a-z0-9]*)(?::([0-9]+(?:\.[0-9]+)?))?(?:\+([a-z][a-z0-9]*))?")
_MILLION = 1_000_000
_FLOATS = ("FP16", "FP32", "FP64")


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec; `str()` gives its canonical name.

    `millionths` is the share of values that `topk` keeps, in 10⁻⁶; `quality` is that of a picture, 1 to 100. Both are 0
    for other codecs.
    """

    lossy: str
    lossless: str = "none"
    millionths: int = 0
    quality: int = 0

    @property
    def bits(self) -> int:
        """The bits of one value where the lossy stage makes integers, else 0."""
        return BITS.get(self.lossy, 0)

    @property
    def per_channel(self) -> bool:
        """Whether each channel has a scale of its own."""
        return self.bits > 0 and self.lossy.endswith("c")

    @property
    def is_picture(self) -> bool:
        """Whether it codes pictures, not tensors."""
        return self.lossy in PICTURES

    def __str__(self) -> str:
        text = self.lossy
        if self.millionths:
            text += ":" + f"{self.millionths / _MILLION:.6f}".rstrip("0").rstrip(".")
        if self.quality:
            text += f":{self.quality}"
        return text if self.lossless == "none" else f"{text}+{self.lossless}"


def parse(text: str) -> Codec:
    """The codec that `text` names. Raises `InvalidInputError` with what is wrong in it."""
    match = _GRAMMAR.fullmatch(text) if len(text) <= 40 else None
    if match is None:
        raise InvalidInputError(f"'{text[:40]}' is no codec; write it like int8c+zstd, fp16, topk:0.1+lz4 or webp:60")
    lossy, number, lossless = match[1], match[2], match[3] or "none"
    if lossy in PICTURES:
        return _picture(text, lossy, number, match[3])
    if lossy not in LOSSY:
        raise InvalidInputError(f"codec '{text}': '{lossy}' is none of {', '.join((*LOSSY, *PICTURES))}")
    if lossless not in LOSSLESS:
        raise InvalidInputError(f"codec '{text}': '{lossless}' is none of {', '.join(LOSSLESS[1:])}")
    if lossless == "ans" and lossy in ("fp16", "bf16", "topk"):
        raise InvalidInputError(f"codec '{text}': ans codes integers of at most 8 bits; use {lossy}+zstd")
    if lossy == "topk":
        return Codec(lossy, lossless, _millionths(text, number))
    if number is not None:
        raise InvalidInputError(f"codec '{text}': '{lossy}' takes no number")
    return Codec(lossy, lossless)


def is_lossless(codec: Codec | str, datatype: str) -> bool:
    """Whether every tensor of `datatype` (its Open Inference name) comes back bit by bit."""
    lossy = (parse(codec) if isinstance(codec, str) else codec).lossy
    return lossy == "fp32" or (lossy == "fp16" and datatype == "FP16")


def check_takes(codec: Codec, datatype: str) -> None:
    """Raises `InvalidInputError` where `codec` is not for tensors of `datatype`."""
    if codec.is_picture:
        raise InvalidInputError(f"codec '{codec}' is for pictures; a tensor takes one like int8c+zstd")
    if codec.lossy != "fp32" and datatype not in _FLOATS:
        exact = Codec("fp32", codec.lossless)
        raise InvalidInputError(f"codec '{codec}' is for {', '.join(_FLOATS)}; for {datatype} use '{exact}'")


def _picture(text: str, lossy: str, number: str | None, lossless: str | None) -> Codec:
    if lossless is not None:
        raise InvalidInputError(f"codec '{text}': a picture is compressed already; leave out '+{lossless}'")
    if number is None or not number.isdigit() or not 1 <= int(number) <= 100:
        raise InvalidInputError(f"codec '{text}': give the quality, 1 to 100, as in '{lossy}:75'")
    return Codec(lossy, quality=int(number))


def _millionths(text: str, number: str | None) -> int:
    share = 0 if number is None else round(float(number) * _MILLION)
    if not 1 <= share <= _MILLION:
        raise InvalidInputError(f"codec '{text}': give the share that is kept, above 0 and at most 1, as in 'topk:0.1'")
    return share
