"""The head of a frame: what it is, before anything of it is decoded. Integers are varints (LEB128) unless said.

    head  = "AF" ‖ version(1) ‖ flags(1) ‖ lossy(1) ‖ lossless asked for(½) used(½) ‖ datatype(1) ‖ rank(1) ‖ sizes
            ‖ [millionths] ‖ [key] ‖ [reference key] ‖ parameter bytes ‖ [data bytes] ‖ payload bytes
    frame = head ‖ parameters ‖ payload ‖ CRC-32 of all before it (4, little-endian)

flags: 1 has a key, 2 is a difference and has a reference key, 4 the numbers are exact though the codec is lossy. The
millionths are those of top-k; data bytes, what the payload inflates to, stand where it is compressed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from airserve.codecs import affine, sparse
from airserve.codecs.codec import LOSSLESS, LOSSY, Codec, check_takes
from airserve.codecs.packing import packed_size
from airserve.codecs.varints import TooFewBytesError, read_varint, write_varint
from airserve.core.errors import BadFrameError, InvalidInputError, TooLargeError
from airserve.core.tensor import MAX_ELEMENTS, MAX_RANK, NUMPY_OF, element_count

MAGIC, VERSION = b"AF", 1
CHECKSUM_BYTES = 4
MAX_KEY = (1 << 32) - 1
MOST_HEAD_BYTES = 8 + 5 * MAX_RANK + 40
"""No head is longer; that of a picture or of features has about 25 bytes."""

_KEY, _DIFFERENCE, _EXACT = 1, 2, 4
_FIXED = 8
_DATATYPES = tuple(NUMPY_OF)
_OBJECT_BYTES = 40
"""What an element of a BYTES tensor takes in memory beside its own bytes."""
_MOST_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Head:
    """What a frame says of itself. `codec` is what was asked for; sizes are bytes.

    `key` names the frame in its stream (None: in none); `reference_key` is the key of the frame that it differs from.
    `stored` is the lossless stage that was used, `exact` says that the lossy one was not. The parameters start at
    `head_bytes`; `data_bytes` is what the payload inflates to.
    """

    codec: Codec
    datatype: str
    shape: tuple[int, ...]
    payload_bytes: int
    key: int | None = None
    reference_key: int | None = None
    stored: str = "none"
    exact: bool = False
    parameter_bytes: int = 0
    data_bytes: int = 0
    head_bytes: int = 0

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def frame_bytes(self) -> int:
        """The size of the whole frame."""
        return self.head_bytes + self.parameter_bytes + self.payload_bytes + CHECKSUM_BYTES

    @property
    def tensor_bytes(self) -> int:
        """What the tensor takes in memory."""
        if self.datatype == "BYTES":
            return self.data_bytes + _OBJECT_BYTES * self.count
        return self.count * NUMPY_OF[self.datatype].itemsize

    def check(self, max_bytes: int) -> None:
        """Raises `TooLargeError` where the tensor would take more than `max_bytes`."""
        if self.tensor_bytes > max_bytes:
            raise TooLargeError(
                f"the tensor in the frame takes {self.tensor_bytes} bytes; the maximum allowed value is {max_bytes}"
            )


def write_head(head: Head) -> bytes:
    """`head` as bytes; its `head_bytes` is not looked at."""
    flags = (
        (head.key is not None) * _KEY | (head.reference_key is not None) * _DIFFERENCE | head.exact * _EXACT
    )  # fmt: skip
    stages = LOSSLESS.index(head.codec.lossless) << 4 | LOSSLESS.index(head.stored)
    fixed = bytes((VERSION, flags, LOSSY.index(head.codec.lossy), stages, _DATATYPES.index(head.datatype)))
    numbers = [len(head.shape), *head.shape]
    if head.codec.millionths:
        numbers.append(head.codec.millionths)
    numbers += [key for key in (head.key, head.reference_key) if key is not None]
    numbers.append(head.parameter_bytes)
    if head.stored != "none":
        numbers.append(head.data_bytes)
    numbers.append(head.payload_bytes)
    return MAGIC + fixed + b"".join(map(write_varint, numbers))


def read_head(frame: bytes | memoryview) -> Head:
    """The head of `frame`, of which the rest may be missing.

    Raises `BadFrameError` for what is no head, or one that contradicts itself (`TooFewBytesError` where it is cut off).
    """
    if bytes(frame[:3]) != (MAGIC + bytes([VERSION]))[: len(frame)]:
        raise BadFrameError("the data is no frame of a coded tensor, or one of a later version")
    if len(frame) < _FIXED:
        raise TooFewBytesError("the frame is cut off")
    flags, lossy, stages, datatype, rank = frame[3:8]
    if flags > 7 or flags & 3 == _DIFFERENCE or lossy >= len(LOSSY) or rank > MAX_RANK:
        raise BadFrameError("the frame's head is malformed")
    if max(stages >> 4, stages & 15) >= len(LOSSLESS) or datatype >= len(_DATATYPES):
        raise BadFrameError("the frame's head names a stage or a datatype that is not known")
    reader = _Reader(frame, _FIXED)
    shape = tuple(reader.next(MAX_ELEMENTS) for _ in range(rank))
    codec = Codec(LOSSY[lossy], LOSSLESS[stages >> 4], reader.next(1_000_000) if LOSSY[lossy] == "topk" else 0)
    key = reader.next(MAX_KEY) if flags & _KEY else None
    reference_key = reader.next(MAX_KEY) if flags & _DIFFERENCE else None
    parameters, stored = reader.next(_MOST_BYTES), LOSSLESS[stages & 15]
    data = reader.next(_MOST_BYTES) if stored != "none" else None
    payload = reader.next(_MOST_BYTES)
    head = Head(
        codec, _DATATYPES[datatype], shape, payload, key, reference_key, stored, bool(flags & _EXACT),
        parameters, payload if data is None else data, reader.place,
    )  # fmt: skip
    _check(head)
    return head


@dataclass(slots=True)
class _Reader:
    frame: bytes | memoryview
    place: int

    def next(self, most: int) -> int:
        value, self.place = read_varint(self.frame, self.place, most)
        return value


def _check(head: Head) -> None:
    """Raises `BadFrameError` where the parts of `head` do not fit together."""
    try:
        element_count(head.shape, "frame")
        check_takes(head.codec, head.datatype)
    except BadFrameError:
        raise
    except InvalidInputError as error:
        raise BadFrameError(f"the frame's head is malformed: {error.message}") from None
    if head.codec.lossy == "topk" and not head.codec.millionths:
        raise BadFrameError("the frame keeps no share of its values")
    least, most = _data_bounds(head)
    scaled = head.codec.bits and not head.exact and head.count
    parameters = affine.most_parameters(head.shape, head.codec.per_channel) if scaled else 0
    if not least <= head.data_bytes <= most or head.parameter_bytes > parameters:
        raise BadFrameError("the frame's sizes do not fit its shape")
    # What does not become smaller is stored as it is, so nothing is ever larger.
    if head.payload_bytes > head.data_bytes:
        raise BadFrameError("the frame's payload is larger than what it holds")
    if head.stored == "ans" and bytes_each(head) != 1:
        raise BadFrameError("the frame's numbers are too wide for its entropy coding")


def _data_bounds(head: Head) -> tuple[int, int]:
    if head.datatype == "BYTES":
        return 4 * head.count, _MOST_BYTES
    if head.codec.lossy == "topk" and not head.exact:
        return sparse.size_bounds(head.count, head.codec.millionths)
    size = packed_size(head.count, head.codec.bits) if bits_each(head) < 8 else head.count * bytes_each(head)
    return size, size


def bits_each(head: Head) -> int:
    """The bits of one symbol: 2 or 4, or 8 for whatever comes in bytes."""
    return head.codec.bits if head.codec.bits and not head.exact else 8


def bytes_each(head: Head) -> int:
    """The bytes of one number as the lossy stage leaves it."""
    if head.datatype == "BYTES" or (not head.exact and (head.codec.bits or head.codec.lossy == "topk")):
        return 1
    if not head.exact and head.codec.lossy in ("fp16", "bf16"):
        return 2
    return NUMPY_OF[head.datatype].itemsize
