"""Tensors as frames, and back: lossy stage, difference to a reference, lossless stage, head and checksum."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np

from airserve.codecs import affine
from airserve.codecs.codec import Codec, check_takes, parse
from airserve.codecs.contexts import grid_of
from airserve.codecs.entropy import decode_symbols, encode_symbols
from airserve.codecs.frame_head import CHECKSUM_BYTES, Head, bits_each, bytes_each, read_head, write_head
from airserve.codecs.lossless import compress, decompress
from airserve.codecs.packing import Bytes, pack_symbols, shuffle, unpack_symbols, unshuffle
from airserve.codecs.stages import Symbols, to_symbols, to_tensor
from airserve.core.call import Array
from airserve.core.errors import BadFrameError, InvalidInputError, MissingReferenceError
from airserve.core.tensor import datatype_of

__all__ = ["Coded", "Decoded", "Head", "Reference", "decode", "decode_frame", "encode", "encode_frame", "read_head"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A frame that others may be the difference to: its key, what it is of, and its symbols, the same on both sides."""

    key: int
    lossy: str
    datatype: str
    shape: tuple[int, ...]
    symbols: Symbols

    def serves(self, codec: Codec, datatype: str, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that kind can be a difference to this one."""
        return (self.lossy, self.datatype, self.shape) == (codec.lossy, datatype, shape) and _differs(codec, datatype)


@dataclass(frozen=True, slots=True)
class Coded:
    """A frame, its head, and what the next one may refer to; `reference` is None for a frame without a key."""

    frame: bytes
    head: Head
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A tensor, the head of its frame, and what the next one may refer to."""

    array: Array
    head: Head
    reference: Reference | None


def encode(array: Array, codec: Codec | str, *, reference: Reference | None = None) -> bytes:
    """`array`, of any shape and Open Inference datatype, as a frame.

    With a `reference` that serves, the frame is the difference to it. Raises `InvalidInputError` for a codec that is
    not for this datatype.
    """
    return encode_frame(array, codec, reference=reference, key=None if reference is None else reference.key + 1).frame


def decode(frame: bytes | memoryview, *, max_bytes: int, reference: Reference | None = None) -> Array:
    """The tensor in `frame`, where it takes at most `max_bytes` of memory; possibly a read-only view of the frame.

    Raises `BadFrameError` for a frame that is damaged, cut off or followed by more, `TooLargeError` beyond `max_bytes`
    (both before anything large is allocated), `MissingReferenceError` for a difference to another than `reference`.
    """
    return decode_frame(frame, max_bytes=max_bytes, reference=reference).array


def encode_frame(
    array: Array,
    codec: Codec | str,
    *,
    reference: Reference | None = None,
    key: int | None = None,
    headroom: float = 0.0,
) -> Coded:
    """The same as `encode`, for a frame of a stream: `key` names it.

    `headroom` is the share of its range by which a key frame of integers is wider, so that what follows fits into it.
    """
    codec = parse(codec) if isinstance(codec, str) else codec
    datatype = datatype_of(array)
    check_takes(codec, datatype)
    array = _native(array)
    symbols, difference = None, None
    if reference is not None and reference.serves(codec, datatype, array.shape):
        symbols = to_symbols(array, codec, like=reference.symbols.parameters)
        if symbols is not None and symbols.exact == reference.symbols.exact:
            difference = reference
    if difference is None or symbols is None:
        symbols = to_symbols(array, codec, headroom=headroom)
        assert symbols is not None  # noqa: S101 - only the parameters of a reference can fail to fit
    head = Head(
        codec, datatype, array.shape, 0, key, None if difference is None else difference.key,
        exact=symbols.exact, parameter_bytes=0 if difference and codec.bits else len(symbols.parameters),
    )  # fmt: skip
    frame, head = _framed(head, symbols, difference)
    kept = None if key is None else Reference(key, codec.lossy, datatype, array.shape, symbols)
    return Coded(frame, head, kept)


def decode_frame(frame: bytes | memoryview, *, max_bytes: int, reference: Reference | None = None) -> Decoded:
    """The same as `decode`, with the head, and with what the next frame may refer to."""
    head = read_head(frame)
    head.check(max_bytes)
    if len(frame) != head.frame_bytes:
        raise BadFrameError(f"the frame has {len(frame)} bytes; its head says {head.frame_bytes}")
    view = memoryview(frame)
    if zlib.crc32(view[:-CHECKSUM_BYTES]) != int.from_bytes(view[-CHECKSUM_BYTES:], "little"):
        raise BadFrameError("the frame is damaged: its checksum does not match")
    if head.reference_key is not None:
        reference = _the_reference(head, reference)
    start = head.head_bytes + head.parameter_bytes
    parameters, payload = bytes(view[head.head_bytes : start]), view[start:-CHECKSUM_BYTES]
    symbols = _symbols(head, parameters, payload, reference if head.reference_key is not None else None)
    try:
        array = to_tensor(symbols, head)
    except BadFrameError:
        raise
    except InvalidInputError as error:
        raise BadFrameError(f"the frame's data is malformed: {error.message}") from None
    kept = None if head.key is None else Reference(head.key, head.codec.lossy, head.datatype, head.shape, symbols)
    return Decoded(array, head, kept)


def _framed(head: Head, symbols: Symbols, difference: Reference | None) -> tuple[bytes, Head]:
    """The frame of `symbols`, and its head with all sizes."""
    rows, width = symbols.rows, bytes_each(head)
    if difference is not None:
        rows, width = _difference(rows, difference.symbols.rows, head), 1
    bits = bits_each(head)
    packed = pack_symbols(rows.reshape(-1), bits)
    asked = head.codec.lossless
    payload, stored = compress(packed, "zstd" if asked == "ans" else asked, width)
    if asked == "ans" and bytes_each(head) == 1 and rows.size:
        coded = encode_symbols(rows, bits, _grid(head))
        if len(coded) < len(payload):
            payload, stored = coded, "ans"
    head = dataclasses.replace(head, stored=stored, data_bytes=packed.size, payload_bytes=len(payload))
    start = write_head(head)
    head = dataclasses.replace(head, head_bytes=len(start))
    parts = (start, symbols.parameters if head.parameter_bytes else b"", payload)
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little"), head


def _symbols(head: Head, parameters: bytes, payload: memoryview, difference: Reference | None) -> Symbols:
    """The symbols in a payload, with the reference added where it is a difference."""
    bits = bits_each(head)
    integers = head.codec.bits and not head.exact and head.count
    axis = affine.channel_axis(head.shape, head.codec.per_channel) if integers else None
    channels = 1 if axis is None else head.shape[axis]
    count = head.count if integers else head.data_bytes
    if head.stored == "ans":
        rows = decode_symbols(payload, channels, count // channels, bits, _grid(head))
    else:
        width = bytes_each(head) if difference is None else 1
        packed = decompress(payload, head.stored, head.data_bytes, width)
        rows = unpack_symbols(packed, count, bits).reshape(channels, -1)
    if difference is not None:
        rows = _sum(rows, difference.symbols.rows, head)
        parameters = difference.symbols.parameters
    return Symbols(rows, parameters, head.exact)


def _grid(head: Head) -> tuple[int, int]:
    """Height and width of the maps in the rows of symbols."""
    if not head.codec.bits or head.exact:
        return 1, 1
    return grid_of(head.shape, affine.channel_axis(head.shape, head.codec.per_channel))


def _difference(rows: Bytes, before: Bytes, head: Head) -> Bytes:
    """Integers: the difference, modulo their range. Bytes of floats: what changed (XOR), alike places side by side."""
    if bits_each(head) < 8 or (head.codec.bits and not head.exact):
        return (rows - before) & np.uint8((1 << bits_each(head)) - 1)
    return shuffle((rows ^ before).reshape(-1), bytes_each(head)).reshape(1, -1)


def _sum(rows: Bytes, before: Bytes, head: Head) -> Bytes:
    if bits_each(head) < 8 or (head.codec.bits and not head.exact):
        return (rows + before) & np.uint8((1 << bits_each(head)) - 1)
    return unshuffle(rows.reshape(-1), bytes_each(head)).reshape(1, -1) ^ before


def _the_reference(head: Head, reference: Reference | None) -> Reference:
    if reference is None or reference.key != head.reference_key:
        raise MissingReferenceError(
            f"frame {head.reference_key}, which this one refers to, is not held; send a key frame"
        )
    if not reference.serves(head.codec, head.datatype, head.shape) or reference.symbols.exact != head.exact:
        raise BadFrameError("the frame is the difference to one of another codec, datatype or shape")
    if head.parameter_bytes:
        raise BadFrameError("a difference has no scales of its own")
    return reference


def _differs(codec: Codec, datatype: str) -> bool:
    """Whether frames of a codec can be differences: the sizes of BYTES, and the places of top-k, change."""
    return datatype != "BYTES" and codec.lossy != "topk"


def _native(array: Array) -> Array:
    """`array` in the byte order of this machine, in which NumPy computes."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
