"""The journal as an auditor reads it: frames straight from the files, by the format alone.

It shares no code with the writer and the fold, so that an error of theirs is not repeated here. Segments and their
archives (zstd) count the same; of what is there twice, the frame with a number is taken once.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import zstandard

ARCHIVE = "archive"
_HEAD = struct.Struct("<IIQB")
_NAME = re.compile(r"(.+)-(\d{8,})-(\d{8,})\.wal(\.zst)?")

Event = Sequence[Any]
"""The fields of a usage event, in the order in which the journal has them."""


def epochs(folder: Path) -> dict[tuple[str, int], list[Path]]:
    """The files of each node and epoch, archives included."""
    found: dict[tuple[str, int], list[Path]] = defaultdict(list)
    for place in (folder / ARCHIVE, folder):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if match := _NAME.fullmatch(path.name):
                found[match[1], int(match[2])].append(path)
    return dict(sorted(found.items()))


def events(paths: Sequence[Path], through_lsn: int) -> Iterator[tuple[int, Event | str]]:
    """The events of one epoch by their numbers, in rising order up to `through_lsn`.

    A text in an event's place says why it cannot be read.
    """
    firsts = sorted((first, str(path), path) for path in paths if (first := _first(path)) is not None)
    next_lsn = 1
    for _, _, path in firsts:
        for lsn, payload in frames(read_segment(path)):
            if lsn > through_lsn:
                break
            if lsn < next_lsn:
                continue
            next_lsn = lsn + 1
            try:
                yield lsn, msgspec.msgpack.decode(payload)
            except msgspec.MsgspecError as error:
                yield lsn, f"{path.name} holds no usage event under number {lsn}: {error}"


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of every frame of whole batches, up to the first bytes that are none."""
    batch: list[tuple[int, bytes]] = []
    offset, lsn = 0, 0
    while offset + _HEAD.size <= len(data):
        length, crc, number, kind = _HEAD.unpack_from(data, offset)
        end = offset + _HEAD.size + length
        if end > len(data) or zlib.crc32(data[offset + 8 : end], length) != crc or (lsn and number != lsn + 1):
            return
        batch.append((number, data[offset + _HEAD.size : end]))
        offset, lsn = end, number
        if kind == 2:
            yield from batch
            batch.clear()


def _first(path: Path) -> int | None:
    head = read_segment(path, _HEAD.size)
    return int(_HEAD.unpack(head)[2]) if len(head) == _HEAD.size else None


def read_segment(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a segment, or of an archived one; all of them by default."""
    with path.open("rb") as file:
        if path.suffix != ".zst":
            return file.read(size)
        with zstandard.ZstdDecompressor().stream_reader(file) as reader:
            return reader.read(size) if size >= 0 else reader.read()
