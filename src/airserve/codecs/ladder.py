"""What each codec makes of a tensor: how many bytes, and how far off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airserve.codecs.codec import Codec, is_lossless, parse
from airserve.codecs.frame import decode, encode
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import datatype_of

FIRST_FLIGHT_BYTES = 13_800
"""What a fresh connection carries before it waits for an acknowledgement: 10 segments of 1,384 bytes (RFC 6928)."""

CANDIDATES = (
    "fp32", "fp32+shuffle", "fp16", "fp16+shuffle", "bf16+shuffle", "int8", "int8+zstd", "int8c+zstd", "int8c+ans",
    "int4c+zstd", "int4c+ans", "int2c+ans", "topk:0.1+zstd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rung:
    """One codec on one tensor: bytes of the frame, the largest and the mean absolute error, in the tensor's unit."""

    codec: Codec
    frame_bytes: int
    bits_per_value: float
    max_error: float
    mean_error: float

    @property
    def fits_first_flight(self) -> bool:
        """Whether it goes out at once on a fresh connection."""
        return self.frame_bytes <= FIRST_FLIGHT_BYTES


def ladder(array: Array, codecs: Sequence[Codec | str] = CANDIDATES) -> tuple[Rung, ...]:
    """A rung for each codec that takes tensors of this datatype, the smallest frame last."""
    rungs = [_rung(array, codec) for codec in _usable(array, codecs)]
    return tuple(sorted(rungs, key=lambda rung: (-rung.frame_bytes, rung.max_error)))


def table(rungs: Sequence[Rung]) -> str:
    """The rungs as text: a heading, and a line each."""
    lines = [f"{'codec':16}{'bytes':>10}{'bits/value':>12}{'max error':>12}{'mean error':>12}  first flight"]
    lines += [
        f"{rung.codec!s:16}{rung.frame_bytes:>10}{rung.bits_per_value:>12.2f}{rung.max_error:>12.4g}"
        f"{rung.mean_error:>12.4g}  {'fits' if rung.fits_first_flight else ''}".rstrip()
        for rung in rungs
    ]
    return "\n".join(lines)


def _usable(array: Array, codecs: Sequence[Codec | str]) -> list[Codec]:
    parsed = [parse(codec) if isinstance(codec, str) else codec for codec in codecs]
    datatype = datatype_of(array)
    floating = datatype in ("FP16", "FP32", "FP64")
    return [codec for codec in parsed if not codec.is_picture and (floating or is_lossless(codec, datatype))]


def _rung(array: Array, codec: Codec) -> Rung:
    frame = encode(array, codec)
    worst = mean = 0.0
    if array.dtype.kind == "f" and array.size:
        back = decode(frame, max_bytes=array.nbytes)
        # What is not finite comes back as it was, and has no difference.
        with np.errstate(invalid="ignore"):
            off = np.nan_to_num(np.abs(back.astype(np.float64) - array), nan=0.0)
        worst, mean = float(off.max()), float(off.mean())
    return Rung(codec, len(frame), 8 * len(frame) / max(1, array.size), worst, mean)


def rung_within(rungs: Sequence[Rung], max_bytes: int = FIRST_FLIGHT_BYTES) -> Rung:
    """The most exact rung of at most `max_bytes`. Raises `InvalidInputError` where none is that small."""
    small = [rung for rung in rungs if rung.frame_bytes <= max_bytes]
    if not small:
        raise InvalidInputError(f"no codec of the ladder makes this tensor {max_bytes} bytes or less")
    return min(small, key=lambda rung: (rung.mean_error, rung.frame_bytes))
