"""The journal's segments on the disk, for whoever reads them while their writer may go on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airserve.core.errors import DamagedJournalError
from airserve.metering.journal_format import HEADER_BYTES, Frame, Rest, Scan, SegmentName, frame_number, scan

READ_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one epoch was read: the segment, the offset behind the last frame in it, and this frame's number.

    The number is what counts; segment and offset say where to look first.
    """

    segment: int = 0
    offset: int = 0
    lsn: int = 0


def segments_of(folder: Path) -> list[SegmentName]:
    """All segments in `folder`, by node, epoch and number; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(name for path in folder.iterdir() if (name := SegmentName.parse(path.name)) is not None)


def end_of(folder: Path, segment: SegmentName) -> tuple[int, float]:
    """The number of a segment and how many bytes it has now; without end where it was archived a moment ago."""
    return segment.seq, _size(folder, segment)


def frames_after(folder: Path, segments: Sequence[SegmentName], mark: Mark) -> tuple[SegmentName, Sequence[Frame]]:
    """The next frames of an epoch behind `mark`, about `READ_BYTES` of them, and the segment that they are in.

    Frames are told by their numbers: a segment that is there twice is read once, and segments whose names were
    exchanged are read in the order in which they were written. Folded segments may be gone. Empty at the end, which a
    crash may have torn. Raises `DamagedJournalError` where frames are missing before others, or are no frames.
    """
    want = mark.lsn + 1
    here = next((each for each in segments if each.seq == mark.segment), None)
    found: Scan | None = None
    if here is not None and _is_there(folder, here, mark.offset, want):
        found = _scan_from(folder, here, mark.offset, want)
        if found.frames:
            return here, found.frames
    firsts = {each: _first_number(folder, each) for each in segments}
    for each in segments:
        if firsts[each] == want:
            next_found = _scan_from(folder, each, 0, want)
            if next_found.frames:
                return each, next_found.frames
            here, found = each, next_found
    if found is None or _later(firsts, mark):
        for each in segments:
            if frames := _frames_from(folder, each, firsts[each], want):
                return each, frames
    _refuse_gap(folder, segments, mark, here, found, firsts)
    return segments[-1], ()


def read_batches(
    folder: Path, segment: SegmentName, offset: int, next_lsn: int, *, last: bool, read_bytes: int = READ_BYTES
) -> Sequence[Frame]:
    """Frames of whole batches from `offset` on, about `read_bytes` of them; `Frame.end` is an offset in the segment.

    Empty at the end of the segment. What follows the last whole batch is fine in the `last` segment of an epoch (it is
    being written, or a crash tore it) and damage in any other. Raises `DamagedJournalError`.
    """
    found = _scan_from(folder, segment, offset, next_lsn, read_bytes)
    if not found.frames and (found.rest is Rest.DAMAGED or (found.rest is Rest.PARTIAL and not last)):
        raise _damaged(folder, segment, found.bad)
    return found.frames


def check_tail(folder: Path, segment: SegmentName) -> Frame | None:
    """Read the last segment of an epoch whole; its last frame.

    Raises `DamagedJournalError` unless at most its end is torn.
    """
    offset, newest = 0, None
    lsn = frame_number(_read(folder, segment, 0, HEADER_BYTES)) or 1
    while frames := read_batches(folder, segment, offset, lsn, last=True):
        newest = frames[-1]
        offset, lsn = newest.end, newest.lsn + 1
    return newest


def _is_there(folder: Path, segment: SegmentName, offset: int, want: int) -> bool:
    """Whether the frame numbered `want`, or the end of what was written, is at `offset` of `segment`."""
    try:
        number = frame_number(_read(folder, segment, offset, HEADER_BYTES))
    except (DamagedJournalError, FileNotFoundError):
        return False
    return number is None or number == want


def _frames_from(folder: Path, segment: SegmentName, first: int | None, lsn: int) -> list[Frame]:
    """The frames numbered `lsn` and above of a whole segment, whose first one is numbered `first`."""
    if first is None or first > lsn:
        return []
    return [frame for frame in scan(_read(folder, segment, 0, None), first).frames if frame.lsn >= lsn]


def _later(firsts: dict[SegmentName, int | None], mark: Mark) -> list[int]:
    """The first numbers of segments that do not follow `mark` directly."""
    return [first for first in firsts.values() if first is not None and first > mark.lsn + 1]


def _first_number(folder: Path, segment: SegmentName) -> int | None:
    """The number of a segment's first frame; None where it has none, or was archived a moment ago."""
    try:
        return frame_number(_read(folder, segment, 0, HEADER_BYTES))
    except FileNotFoundError:
        return None


def _scan_from(folder: Path, segment: SegmentName, offset: int, next_lsn: int, read_bytes: int = READ_BYTES) -> Scan:
    found = _scan_at(folder, segment, offset, next_lsn, read_bytes)
    if not found.frames:
        # Nothing whole in the first part: a batch larger than that, the end, or damage. The rest of the file tells.
        found = _scan_at(folder, segment, offset, next_lsn, None)
        if found.rest is Rest.DAMAGED:
            # The writer may have cut back a failed batch and written the next one between two reads of ours.
            found = _scan_at(folder, segment, offset, next_lsn, None)
    return found


def _refuse_gap(
    folder: Path,
    segments: Sequence[SegmentName],
    mark: Mark,
    here: SegmentName | None,
    found: Scan | None,
    firsts: dict[SegmentName, int | None],
) -> None:
    """Nothing follows `mark`: fine at the end of the epoch, damage where later frames are there."""
    if here is not None and found is not None and found.rest is Rest.DAMAGED:
        raise _damaged(folder, here, found.bad)
    if (
        here is not None
        and found is None
        and _size(folder, here) < mark.offset
        and not any(_frames_from(folder, each, firsts[each], mark.lsn) for each in segments)
    ):
        raise _damaged(folder, here, mark.offset)
    later = _later(firsts, mark)
    if not later:
        return
    if here is not None and found is not None and found.rest is Rest.PARTIAL:
        raise _damaged(folder, here, found.bad)
    there = {segment.seq for segment in segments}
    seq = next(number for number in range(mark.segment, max(there) + 2) if number not in there)
    missing = SegmentName(segments[0].node_id, segments[0].epoch, seq)
    raise DamagedJournalError(
        f"the usage journal has a gap: segment {folder / str(missing)} is missing and was not yet in the ledger "
        f"(frames {mark.lsn + 1} to {min(later) - 1}). Restore it from a backup; or move the later ones of this epoch "
        "out of the folder, to go on without the calls in them"
    )


def _size(folder: Path, segment: SegmentName) -> float:
    """The bytes of a segment; without end where it was archived a moment ago."""
    try:
        return (folder / str(segment)).stat().st_size
    except FileNotFoundError:
        return float("inf")


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
