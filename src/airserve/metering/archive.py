"""Folded segments of the journal: compressed into `archive/`, where the audit reads them still, and deleted in the end.

A segment is taken only when all of it is in the ledger, in a commit that has reached the disk, and nobody will write to
it again. It is removed after its archive was synced, renamed into place and read back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import sqlalchemy as sa
import zstandard

from airserve.core.crash_points import crash_point
from airserve.core.errors import DamagedJournalError
from airserve.metering.event import stamp_of
from airserve.metering.journal_files import sync_folder
from airserve.metering.journal_format import SegmentName, frame_number, scan
from airserve.metering.segments import segments_of
from airserve.storage import tables
from airserve.storage.database import Database

FOLDER = "archive"


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many segments were archived, how many archives deleted, and the bytes that are free now."""

    archived: int
    deleted: int
    freed_bytes: int


def prune(db: Database, journal_folder: Path, *, archive_before_ns: int, delete_before_ns: int = 0) -> Pruned:
    """Archive the folded segments whose calls were all admitted before `archive_before_ns` (UTC nanoseconds).

    Archives whose calls are all older than `delete_before_ns` are deleted; the audit cannot compare those calls with
    what was recorded any more. Raises `DamagedJournalError` for a segment that holds other bytes than whole batches.
    """
    archived, freed = 0, 0
    for segment in _folded(db, journal_folder):
        path = journal_folder / str(segment)
        data = path.read_bytes()
        last = _last_stamp(path, data)
        if last < archive_before_ns:
            archived += 1
            freed += len(data) - _archive(path, data)
    deleted = 0
    folder = journal_folder / FOLDER
    for path in sorted(folder.glob("*.wal.zst")) if delete_before_ns else ():
        if _last_stamp(path, _unpacked(path)) < delete_before_ns:
            freed += path.stat().st_size
            path.unlink()
            deleted += 1
    return Pruned(archived, deleted, freed)


def _unpacked(path: Path) -> bytes:
    """The bytes of an archived segment."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return reader.read()


def _last_stamp(path: Path, data: bytes) -> int:
    """When the last of a segment's calls was admitted; 0 for an empty one."""
    stamps = [stamp_of(frame.payload) for frame in scan(data, _first_number(data)).frames]
    if data and not stamps:
        raise DamagedJournalError(f"{path} holds no whole batch; it stays as it is, look what it is")
    return max(stamps, default=0)


def _first_number(data: bytes) -> int:
    return frame_number(data) or 1


def _folded(db: Database, folder: Path) -> list[SegmentName]:
    """The segments that are read to their ends, but the last of each node's latest start, which is being written."""
    marks = tables.journal_marks.c
    with db.read() as connection:
        read_to = {(row.node_id, row.epoch): row for row in connection.execute(sa.select(*marks))}
    found: list[SegmentName] = []
    for _, group in groupby(segments_of(folder), key=lambda segment: segment.node_id):
        of_node = list(group)
        for segment in of_node:
            mark = read_to.get((segment.node_id, segment.epoch))
            is_open = segment.epoch == of_node[-1].epoch and segment.seq == of_node[-1].seq
            if not is_open and _is_read(folder, segment, mark.lsn if mark else 0):
                found.append(segment)
    return found


def _is_read(folder: Path, segment: SegmentName, lsn: int) -> bool:
    data = (folder / str(segment)).read_bytes()
    frames = scan(data, _first_number(data)).frames
    return not frames or frames[-1].lsn <= lsn


def _archive(path: Path, data: bytes) -> int:
    """Put a segment into the archive and remove it; the size of the archive."""
    folder = path.parent / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    target, temporary = folder / f"{path.name}.zst", folder / f"{path.name}.new"
    packed = zstandard.ZstdCompressor(level=6).compress(data)
    with temporary.open("wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    crash_point("archive.before_rename")
    temporary.replace(target)
    sync_folder(folder)
    crash_point("archive.after_rename")
    if _unpacked(target) != data:
        raise DamagedJournalError(f"{target} does not hold what {path} holds; the segment stays. See to the disk")
    path.unlink()
    crash_point("archive.after_unlink")
    return len(packed)
