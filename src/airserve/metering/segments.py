"""The journal's segments on the disk, for whoever reads them while their writer may go on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from airserve.core.errors import DamagedJournalError
from airserve.metering.journal_format import HEADER_BYTES, Frame, Rest, Scan, SegmentName, frame_number, scan

READ_BYTES = 1 << 19


def segments_of(folder: Path) -> list[SegmentName]:
    """All segments in `folder`, by node, epoch and number; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(name for path in folder.iterdir() if (name := SegmentName.parse(path.name)) is not None)


def read_batches(
    folder: Path, segment: SegmentName, offset: int, next_lsn: int, *, last: bool, read_bytes: int = READ_BYTES
) -> Sequence[Frame]:
    """Frames of whole batches from `offset` on, about `read_bytes` of them; `Frame.end` is an offset in the segment.

    Empty at the end of the segment. What follows the last whole batch is fine in the `last` segment of an epoch (it is
    being written, or a crash tore it) and damage in any other. Raises `DamagedJournalError`.
    """
    found = _scan_at(folder, segment, offset, next_lsn, read_bytes)
    if not found.frames:
        # Nothing whole in the first part: a batch larger than that, the end, or damage. The rest of the file tells.
        found = _scan_at(folder, segment, offset, next_lsn, None)
        if found.rest is Rest.DAMAGED and last:
            # The writer may have cut back a failed batch and written the next one between two reads of ours.
            found = _scan_at(folder, segment, offset, next_lsn, None)
        if not found.frames and (found.rest is Rest.DAMAGED or (found.rest is Rest.PARTIAL and not last)):
            raise _damaged(folder, segment, found.bad)
    return found.frames


def check_tail(folder: Path, segment: SegmentName) -> None:
    """Read the last segment of an epoch whole; raises `DamagedJournalError` unless at most its end is torn."""
    offset = 0
    lsn = frame_number(_read(folder, segment, 0, HEADER_BYTES)) or 1
    while frames := read_batches(folder, segment, offset, lsn, last=True):
        offset, lsn = frames[-1].end, frames[-1].lsn + 1


def _scan_at(folder: Path, segment: SegmentName, offset: int, next_lsn: int, size: int | None) -> Scan:
    return scan(_read(folder, segment, offset, size), next_lsn, offset)


def _read(folder: Path, segment: SegmentName, offset: int, size: int | None) -> bytes:
    with (folder / str(segment)).open("rb") as file:
        if file.seek(0, os.SEEK_END) < offset:
            raise _damaged(folder, segment, offset)
        file.seek(offset)
        return file.read(-1 if size is None else size)


def _damaged(folder: Path, segment: SegmentName, offset: int) -> DamagedJournalError:
    return DamagedJournalError(
        f"the usage journal is damaged: segment {folder / str(segment)} holds no sound frame at offset {offset}, and "
        "a crash does not do this. Restore the file from a backup; or move this segment and all later ones of "
        f"'{segment.node_id}-{segment.epoch:08d}' out of the folder, to go on without the calls in them"
    )
