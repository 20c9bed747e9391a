"""Tensors that cross the wire as frames of `airserve.codecs.frame`: the parameter `codec` beside an input or output.

Frames are opened apart from the rest of a request, since that is computing: `Coded` holds what is still to open, and
its head says how large it becomes. Every refusal is an `InvalidInputError`, or `TooLargeError` for what would become
too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airserve.codecs.codec import is_lossless, parse
from airserve.codecs.frame import Head, Reference, decode_frame, read_head
from airserve.core.call import Array, Tensors
from airserve.core.errors import BadFrameError, CodecNotAcceptedError, InvalidInputError, TooLargeError
from airserve.core.tensor import TensorSpec
from airserve.models.manifest import CodecEntry

OFF_LOOP_FROM = 32 << 10
"""Tensors of together so many bytes and more are coded and decoded off the event loop, which that would hold up.

Below, most codecs take less than the 0.1 ms that a thread costs.
"""

MOST_GROWTH, FREE_BYTES = 200, 4 << 20
"""Above `FREE_BYTES`, frames become at most so many times larger: decoding comes before any limit of the tenant."""

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Coded:
    """An input that came as a frame, whose head was read and is what the request declares."""

    name: str
    head: Head
    frame: bytes | memoryview


def codec_asked(parameters: Mapping[str, Any], name: str) -> str | None:
    """The parameter `codec` of the input or output `name`, None where there is none."""
    text = parameters.get("codec")
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _LONGEST_NAME:
        raise InvalidInputError(f"'codec' of '{name[:80]}' is the name of a codec, like int8c+zstd")
    parse(text)
    return text


def check_accepted(model: str, spec: TensorSpec, codec: str, listed: Sequence[CodecEntry]) -> None:
    """Refuse with `CodecNotAcceptedError` a codec that is neither lossless nor `listed` for the tensor.

    What follows the + is lossless, and therefore free to choose.
    """
    asked = parse(codec)
    if is_lossless(asked, spec.datatype):
        return
    measured = [parse(entry.codec) for entry in listed if entry.tensor == spec.name]
    taken = [each for each in measured if not each.is_picture]
    if (asked.lossy, asked.millionths) not in [(each.lossy, each.millionths) for each in taken]:
        also = "".join(f", {each}" for each in taken)
        raise CodecNotAcceptedError(
            f"codec '{codec}' is not accepted for '{spec.name}' of model '{model}'; what is: fp32 and fp32+zstd, which "
            f"lose nothing{also}"
        )


def coded_input(name: str, codec: str, datatype: str, shape: Sequence[int], frame: bytes | memoryview) -> Coded:
    """The input in `frame`, which must be of the codec, datatype and shape that were declared."""
    head = read_head(frame)
    if (head.codec, head.datatype, head.shape) != (parse(codec), datatype, tuple(shape)):
        raise BadFrameError(
            f"the frame of input '{name}' holds {head.datatype} {_short(head.shape)} in {head.codec}; "
            f"what was declared is {datatype} {_short(shape)} in {codec}"
        )
    return Coded(name, head, frame)


def tensor_bytes(coded: Iterable[Coded]) -> int:
    """What all of them are decoded to, in bytes."""
    return sum(each.head.tensor_bytes for each in coded)


def check_size(model: str, coded: Sequence[Coded], max_bytes: int) -> None:
    """Refuse frames that would become more than `max_bytes`, or grow too much, before anything of them is decoded."""
    size = tensor_bytes(coded)
    if size > max_bytes:
        raise TooLargeError(
            f"the coded inputs for model '{model}' would take {size} bytes, "
            f"over the maximum allowed value of {max_bytes}"
        )
    sent = sum(len(each.frame) for each in coded)
    if size > max(FREE_BYTES, MOST_GROWTH * sent):
        raise TooLargeError(
            f"the coded inputs for model '{model}' would grow from {sent} to {size} bytes, more than {MOST_GROWTH} "
            "times; send fewer rows, or another codec"
        )


class References(Protocol):
    """The frames of one stream that others may be the difference to."""

    def get(self, name: str, key: int) -> Reference | None:
        """The frame `key` of the input `name`."""

    def put(self, name: str, reference: Reference) -> None:
        """Keep a frame of the input `name`."""


def open_frames(coded: Iterable[Coded], references: References | None = None) -> Tensors:
    """The tensors in the frames, by the names of their inputs. Raises `BadFrameError` for one that is damaged.

    With the `references` of a stream, frames may be differences, and those with a key are kept. Raises
    `MissingReferenceError` for the difference to a frame that is not there.
    """
    return {each.name: _open(each, references) for each in coded}


def _open(coded: Coded, references: References | None) -> Array:
    head, reference = coded.head, None
    if references is not None and head.reference_key is not None:
        reference = references.get(coded.name, head.reference_key)
    decoded = decode_frame(coded.frame, max_bytes=head.tensor_bytes, reference=reference)
    if references is not None and decoded.reference is not None:
        references.put(coded.name, decoded.reference)
    return decoded.array


def _short(shape: Sequence[int]) -> str:
    text = str(list(shape[:16]))
    return text if len(text) <= 120 else text[:117] + "..."
