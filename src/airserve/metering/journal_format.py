"""The bytes of the journal: frames, batches of frames and the names of segments. No input or output in here.

    frame    u32 length of payload | u32 crc | u64 lsn | u8 type | payload        little-endian
    batch    frames of type MORE, then one of type LAST
    segment  <node>-<epoch>-<seq>.wal: batches, one after the other

A batch counts as a whole or not at all: its calls are answered together, after its one write. `lsn` counts the
frames of one epoch from 1 without a gap, across segments. The checksum is CRC-32 (IEEE 802.3, `zlib.crc32`) over
lsn, type and payload, started from the length so that it covers this too. CRC-32C would do the same service; only
the former is in the standard library.
"""

from __future__ import annotations

import enum
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from airserve.core.errors import InvalidInputError

_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<QB")
HEADER_BYTES = _HEAD.size + _BODY.size
MAX_PAYLOAD = 1 << 16
MORE, LAST = 1, 2

_SEGMENT_NAME = re.compile(r"(?P<node>.+)-(?P<epoch>\d{8,})-(?P<seq>\d{8,})\.wal")
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Frame(NamedTuple):
    """One payload with its number; `end` is the offset behind it in the segment."""

    lsn: int
    payload: bytes
    end: int


class Rest(enum.Enum):
    """What follows the last whole batch of the scanned bytes."""

    NOTHING = "nothing"
    PARTIAL = "partial"
    """A beginning of a batch: still being written, or torn by a crash."""
    DAMAGED = "damaged"
    """Bytes that are no frame, with good frames behind them: no crash of the writer does this."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The frames of the whole batches, the offset behind them, and what comes there; `bad` is where reading stopped.

    All offsets are in the segment.
    """

    frames: Sequence[Frame]
    end: int
    rest: Rest
    bad: int


def encode_batch(first_lsn: int, payloads: Sequence[bytes]) -> bytes:
    """The frames of one batch, numbered from `first_lsn`; each payload at most `MAX_PAYLOAD` bytes."""
    parts: list[bytes] = []
    last = len(payloads) - 1
    for index, payload in enumerate(payloads):
        length = len(payload)
        if length > MAX_PAYLOAD:
            raise InvalidInputError(f"a usage event of {length} bytes is over the journal's limit of {MAX_PAYLOAD}")
        body = _BODY.pack(first_lsn + index, LAST if index == last else MORE) + payload
        parts.append(_HEAD.pack(length, zlib.crc32(body, length)))
        parts.append(body)
    return b"".join(parts)


def scan(data: bytes, next_lsn: int, base: int = 0) -> Scan:
    """Read batches from `data`, which begins at offset `base` of a segment with the frame of number `next_lsn`."""
    frames: list[Frame] = []
    whole = end = offset = 0
    while (found := _frame_at(data, offset)) is not None and found.lsn == next_lsn:
        start, offset = offset + HEADER_BYTES, found.end
        frames.append(Frame(next_lsn, data[start:offset], base + offset))
        next_lsn += 1
        if found.kind == LAST:
            whole, end = len(frames), offset
    del frames[whole:]
    if end == len(data):
        return Scan(frames, base + end, Rest.NOTHING, base + offset)
    rest = Rest.DAMAGED if _later_frame(data, offset, next_lsn) else Rest.PARTIAL
    return Scan(frames, base + end, rest, base + offset)


def frame_number(header: bytes) -> int | None:
    """The lsn in the first `HEADER_BYTES` of a frame, unchecked; None where they are not all there."""
    return _BODY.unpack_from(header, _HEAD.size)[0] if len(header) >= HEADER_BYTES else None


class _Found(NamedTuple):
    lsn: int
    kind: int
    end: int


def _frame_at(data: bytes, offset: int) -> _Found | None:
    """The whole and sound frame that begins at `offset` of `data`, if there is one."""
    start = offset + HEADER_BYTES
    if start > len(data):
        return None
    length, crc = _HEAD.unpack_from(data, offset)
    end = start + length
    if length > MAX_PAYLOAD or end > len(data):
        return None
    if zlib.crc32(data[offset + _HEAD.size : end], length) != crc:
        return None
    lsn, kind = _BODY.unpack_from(data, offset + _HEAD.size)
    if kind not in (MORE, LAST):
        return None
    return _Found(lsn, kind, end)


def _later_frame(data: bytes, offset: int, lsn: int) -> bool:
    """Whether a sound frame of number `lsn` or above begins at or behind `offset`.

    Trying every byte would be slow; the upper five bytes of the number and the type are nearly constant within a
    segment, so the search looks for these first.
    """
    for upper in (lsn >> 24, (lsn >> 24) + 1):
        for kind in (MORE, LAST):
            needle = upper.to_bytes(5, "little") + bytes((kind,))
            at = data.find(needle, offset + _HEAD.size + 3)
            while at >= 0:
                found = _frame_at(data, at - 3 - _HEAD.size)
                if found is not None and found.lsn >= lsn:
                    return True
                at = data.find(needle, at + 1)
    return False


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """A node's segment number `seq` since its start number `epoch`."""

    node_id: str
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.node_id}-{self.epoch:08d}-{self.seq:08d}.wal"

    @staticmethod
    def parse(name: str) -> SegmentName | None:
        """The parts of a segment's file name; None for any other file."""
        match = _SEGMENT_NAME.fullmatch(name)
        return SegmentName(match["node"], int(match["epoch"]), int(match["seq"])) if match else None


def check_node_id(node_id: str) -> str:
    """`node_id`, if it can be part of a file name."""
    if not _NODE_ID.fullmatch(node_id):
        raise InvalidInputError(
            f"'{node_id[:80]}' is no node id; use 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    return node_id
