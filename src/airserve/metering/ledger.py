"""The ledger: every call of every journal, once. Folding a journal into it may be repeated at will.

The rows and the mark that says how far a journal was read are written in one transaction, so whatever stops a fold
leaves either both or none; and a row's id is that of its call, so reading a frame again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.errors import DamagedJournalError
from airserve.metering.event import Outcome, UsageEvent, decode_event
from airserve.metering.journal_format import Frame, SegmentName
from airserve.metering.segments import read_batches, segments_of
from airserve.storage import tables
from airserve.storage.database import Database

CHUNK = 5_000
"""The most events of one transaction: a fold that catches up never keeps other writers waiting for long."""

Row = tuple[Any, ...]
"""A row of `usage_events`, in the order of its columns: the fields of the event, then its place in the journals."""
_COLUMNS = [column.name for column in tables.usage_events.columns]
_OUTCOME = UsageEvent.__struct_fields__.index("outcome") - 1


@dataclass(frozen=True, slots=True)
class FoldResult:
    """How many events were new to the ledger, and how many it knew already."""

    inserted: int = 0
    duplicates: int = 0

    def __add__(self, other: FoldResult) -> FoldResult:
        return FoldResult(self.inserted + other.inserted, self.duplicates + other.duplicates)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one epoch was folded: the segment, the offset behind the last frame in it, and this frame's number."""

    segment: int = 0
    offset: int = 0
    lsn: int = 0


def ledger_id(tenant_id: str, call_id: str, outcome: Outcome = Outcome.OK, admitted_ns: int = 0) -> str:
    """The ledger's id of a call.

    An answered call of a tenant is charged once, however often it is retried. Its free ends are rows of their own: a
    retry that is answered is charged although the first try was late. Each try of a generation that ended early is a
    row of its own too: it costs just the tokens of that try. Tenants choose ids without knowing each other, so the
    tenant is part of it.
    """
    charged = f"{tenant_id}/{call_id}"
    if outcome is Outcome.OK:
        return charged
    return f"{charged}/{outcome.value}" + (f"/{admitted_ns}" if outcome is Outcome.PARTIAL else "")


def fold(db: Database, journal_folder: Path, *, chunk: int = CHUNK) -> FoldResult:
    """Bring the ledger up to date with every journal in `journal_folder`, at most `chunk` events a transaction.

    Anybody may call it at any time, also while servers append and others fold. Raises `DamagedJournalError` where a
    journal holds what no crash explains; everything before it is in the ledger then.
    """
    total = FoldResult()
    segments = segments_of(journal_folder)
    marks = _marks(db) if segments else {}
    for (node_id, epoch), group in groupby(segments, key=lambda segment: (segment.node_id, segment.epoch)):
        total += _fold_epoch(db, journal_folder, list(group), marks.get((node_id, epoch)), chunk)
    return total


def last_epoch(db: Database, node_id: str) -> int:
    """The highest epoch of `node_id` that the ledger has read; 0 for a new node."""
    marks = tables.journal_marks
    with db.read() as connection:
        return connection.scalar(sa.select(sa.func.max(marks.c.epoch)).where(marks.c.node_id == node_id)) or 0


def _fold_epoch(
    db: Database, folder: Path, segments: Sequence[SegmentName], mark: Mark | None, chunk: int
) -> FoldResult:
    total = FoldResult()
    while True:
        start = mark or Mark()
        _refuse_gaps(folder, segments, mark)
        segment, frames = _next_frames(folder, segments, start, chunk)
        if not frames:
            return total
        rows = [_row(folder, segment, frame) for frame in frames]
        with db.write() as connection:
            current = _mark(connection, segment)
            if current == mark:
                total += _insert(connection, rows)
                current = Mark(segment.seq, frames[-1].end, frames[-1].lsn)
                _set_mark(connection, segment, current, is_new=mark is None)
        # Where somebody else has folded in the meantime, this goes on from where they are.
        mark = current


def _next_frames(
    folder: Path, segments: Sequence[SegmentName], mark: Mark, chunk: int
) -> tuple[SegmentName, Sequence[Frame]]:
    for segment in segments:
        if segment.seq < mark.segment:
            continue
        offset = mark.offset if segment.seq == mark.segment else 0
        frames = read_batches(folder, segment, offset, mark.lsn + 1, last=segment is segments[-1])
        if frames:
            return segment, frames[:chunk]
    return segments[-1], ()


def _refuse_gaps(folder: Path, segments: Sequence[SegmentName], mark: Mark | None) -> None:
    """Segments that were folded may be gone; one that was not may not."""
    expected = mark.segment if mark else 0
    here = [segment.seq for segment in segments if segment.seq >= expected]
    if mark and here and here[0] == expected + 1:
        expected += 1
    for want, seq in enumerate(here, start=expected):
        if seq != want:
            missing = SegmentName(segments[0].node_id, segments[0].epoch, want)
            raise DamagedJournalError(
                f"the usage journal has a gap: segment {folder / str(missing)} is missing and was not yet in the "
                "ledger. Restore it from a backup; or move the later segments of the same epoch out of the folder, to "
                "go on without the calls in them"
            )


def _row(folder: Path, segment: SegmentName, frame: Frame) -> Row:
    try:
        event = decode_event(frame.payload)
    except msgspec.MsgspecError as error:
        raise DamagedJournalError(
            f"frame {frame.lsn} of {folder / str(segment)} is sound but no usage event that this version reads "
            f"({error}); fold it with the version that wrote it"
        ) from error
    call_id, *fields = msgspec.structs.astuple(event)
    fields[_OUTCOME] = event.outcome.value
    event_id = ledger_id(event.tenant_id, call_id, event.outcome, event.admitted_ns)
    return (event_id, *fields, segment.node_id, segment.epoch, frame.lsn)


def _insert(connection: sa.Connection, rows: list[Row]) -> FoldResult:
    # Compiled once and given to the driver: SQLAlchemy's handling of each row's parameters costs more than the insert.
    compiled = _insert_new(connection).compile(dialect=connection.dialect, column_keys=_COLUMNS)
    parameters = rows if compiled.positional else [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    inserted = connection.exec_driver_sql(str(compiled), parameters).rowcount
    duplicates = len(rows) - inserted
    if duplicates:
        _check_all_there(connection, rows)
    return FoldResult(inserted, duplicates)


def _insert_new(connection: sa.Connection) -> sa.Insert:
    """INSERT … ON CONFLICT DO NOTHING, which SQLAlchemy spells per database."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert(tables.usage_events).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(tables.usage_events).on_conflict_do_nothing()


def _check_all_there(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """What was not inserted must be a known call, not another one at the same place of the journal."""
    events = tables.usage_events
    ids = sorted({row[0] for row in rows})
    there = 0
    for start in range(0, len(ids), 500):
        query = sa.select(sa.func.count()).select_from(events).where(events.c.id.in_(ids[start : start + 500]))
        there += connection.scalar(query) or 0
    if there != len(ids):
        *_, node_id, epoch, _lsn = rows[0]
        raise DamagedJournalError(
            f"the ledger holds other calls for epoch {epoch} of node '{node_id}' than its journal does: two journals "
            "have used the same node and epoch. Move one of them to a state folder of its own, or give its node "
            "another id"
        )


def _marks(db: Database) -> dict[tuple[str, int], Mark]:
    with db.read() as connection:
        rows = connection.execute(sa.select(tables.journal_marks)).all()
    return {(row.node_id, row.epoch): Mark(row.segment, row.offset, row.lsn) for row in rows}


def _of(segment: SegmentName) -> sa.ColumnElement[bool]:
    marks = tables.journal_marks
    return sa.and_(marks.c.node_id == segment.node_id, marks.c.epoch == segment.epoch)


def _mark(connection: sa.Connection, segment: SegmentName) -> Mark | None:
    row = connection.execute(sa.select(tables.journal_marks).where(_of(segment))).one_or_none()
    return Mark(row.segment, row.offset, row.lsn) if row else None


def _set_mark(connection: sa.Connection, segment: SegmentName, mark: Mark, *, is_new: bool) -> None:
    marks = tables.journal_marks
    values = {"segment": mark.segment, "offset": mark.offset, "lsn": mark.lsn}
    if is_new:
        connection.execute(sa.insert(marks).values(node_id=segment.node_id, epoch=segment.epoch, **values))
    else:
        connection.execute(sa.update(marks).where(_of(segment)).values(values))
