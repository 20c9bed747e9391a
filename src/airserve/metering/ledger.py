"""The fold: every call of every journal comes into the ledger, once. It may be repeated at will.

The events, the entries that they make, what they take from budgets and the mark that says how far a journal was read
are written in one transaction, so whatever stops a fold leaves either all or none; and a row's id is that of its call,
so reading a frame again changes nothing. What a stream has recorded before its end makes no row
(`metering/unfinished.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.core.errors import DamagedJournalError
from airserve.metering.event import Outcome, UsageEvent, decode_event
from airserve.metering.journal_format import Frame, SegmentName
from airserve.metering.leases import Spent, settle
from airserve.metering.periods import DAY_NS
from airserve.metering.segments import Mark, end_of, frames_after, segments_of
from airserve.metering.unfinished import follow
from airserve.metering.usage_postings import Charge, post_usage
from airserve.storage import tables
from airserve.storage.database import Database

CHUNK = 5_000
"""The most events of one transaction: a fold that catches up never keeps other writers waiting for long."""

Row = tuple[Any, ...]
"""A row of `usage_events`, in the order of its columns: the fields of the event, then its place in the journals."""
_COLUMNS = [column.name for column in tables.usage_events.columns]
_ID, _TENANT, _KEY, _PRICE, _AMOUNT, _CURRENCY, _ADMITTED, _PROJECT, _NODE, _EPOCH, _LSN = (
    _COLUMNS.index(name)
    for name in (
        "id", "tenant_id", "key_id", "price_id", "amount_nano", "currency", "admitted_ns", "project_id", "node_id",
        "epoch", "lsn",
    )
)  # fmt: skip
_OUTCOME = UsageEvent.__struct_fields__.index("outcome") - 1


@dataclass(frozen=True, slots=True)
class FoldResult:
    """How many events were new to the ledger, and how many it knew already."""

    inserted: int = 0
    duplicates: int = 0

    def __add__(self, other: FoldResult) -> FoldResult:
        return FoldResult(self.inserted + other.inserted, self.duplicates + other.duplicates)


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


def fold(
    db: Database, journal_folder: Path, *, chunk: int = CHUNK, clock_ns: Callable[[], int] = time.time_ns
) -> FoldResult:
    """Bring the ledger up to date with every journal in `journal_folder`, at most `chunk` events a transaction.

    It ends at what the journals held when it began, so that a busy server's new calls come by the thousand with the
    next fold, and not a handful in each of many transactions.

    Anybody may call it at any time, also while servers append and others fold: writers of the database are alone, so
    one folds at a time. `clock_ns` says when entries are posted. Raises `DamagedJournalError` where a journal holds
    what no crash explains; everything before it, and all of every other journal, is in the ledger then.
    """
    total = FoldResult()
    segments = segments_of(journal_folder)
    marks = _marks(db) if segments else {}
    damage: DamagedJournalError | None = None
    for (node_id, epoch), group in groupby(segments, key=lambda segment: (segment.node_id, segment.epoch)):
        try:
            total += _fold_epoch(db, journal_folder, list(group), marks.get((node_id, epoch)), chunk, clock_ns)
        except DamagedJournalError as error:
            damage = damage or error
    if damage:
        raise damage
    return total


def last_epoch(db: Database, node_id: str) -> int:
    """The highest epoch of `node_id` that the ledger has read; 0 for a new node."""
    marks = tables.journal_marks
    with db.read() as connection:
        return connection.scalar(sa.select(sa.func.max(marks.c.epoch)).where(marks.c.node_id == node_id)) or 0


def _fold_epoch(
    db: Database,
    folder: Path,
    segments: Sequence[SegmentName],
    mark: Mark | None,
    chunk: int,
    clock_ns: Callable[[], int],
) -> FoldResult:
    total = FoldResult()
    end = end_of(folder, segments[-1])
    while True:
        segment, frames = frames_after(folder, segments, mark or Mark())
        if not frames:
            return total
        frames = frames[:chunk]
        events = [_event(folder, segment, frame) for frame in frames]
        rows = [
            _row(event, segment, frame.lsn)
            for event, frame in zip(events, frames, strict=True)
            if event.outcome is not Outcome.PROGRESS
        ]
        crash_point("fold.before_transaction")
        with db.write(announce=False) as connection:
            current = _mark(connection, segment)
            if current == mark:
                follow(connection, segment.node_id, events)
                crash_point("fold.after_unfinished")
                if rows:
                    total += _insert(connection, rows, clock_ns())
                current = Mark(segment.seq, frames[-1].end, frames[-1].lsn)
                crash_point("fold.before_mark")
                _set_mark(connection, segment, current, is_new=mark is None)
                crash_point("fold.before_commit")
        crash_point("fold.after_commit")
        if current and (current.segment, current.offset) >= end:
            return total
        # Where somebody else has folded in the meantime, this goes on from where they are.
        mark = current


def _event(folder: Path, segment: SegmentName, frame: Frame) -> UsageEvent:
    try:
        return decode_event(frame.payload)
    except msgspec.MsgspecError as error:
        raise DamagedJournalError(
            f"frame {frame.lsn} of {folder / str(segment)} is sound but no usage event that this version reads "
            f"({error}); fold it with the version that wrote it"
        ) from error


def _row(event: UsageEvent, segment: SegmentName, lsn: int) -> Row:
    call_id, *fields = msgspec.structs.astuple(event)
    fields[_OUTCOME] = event.outcome.value
    event_id = ledger_id(event.tenant_id, call_id, event.outcome, event.admitted_ns)
    return (event_id, *fields, segment.node_id, segment.epoch, lsn)


def _insert(connection: sa.Connection, rows: list[Row], now_ns: int) -> FoldResult:
    """Insert what is new, and all that follows from it."""
    new = _insert_events(connection, rows)
    crash_point("fold.after_events")
    charges = [
        Charge(row[_ID], row[_TENANT], row[_AMOUNT], row[_CURRENCY], row[_PRICE], row[_ADMITTED])
        for row in new
        if row[_AMOUNT]
    ]
    post_usage(connection, charges, now_ns=now_ns)
    crash_point("fold.after_postings")
    settle(connection, _spent(new))
    crash_point("fold.after_leases")
    return FoldResult(len(new), len(rows) - len(new))


def _spent(new: list[Row]) -> list[Spent]:
    """What the new events take from budgets: one sum for all of a key's on one day, since budgets begin at midnight."""
    sums: dict[tuple[str, str, str, int], int] = {}
    for row in new:
        if row[_AMOUNT]:
            place = (row[_TENANT], row[_PROJECT], row[_KEY], row[_ADMITTED] // DAY_NS)
            sums[place] = sums.get(place, 0) + row[_AMOUNT]
    return [
        Spent(tenant_id, project_id, key_id, amount, day * DAY_NS, new[0][_NODE], new[0][_EPOCH])
        for (tenant_id, project_id, key_id, day), amount in sums.items()
    ]


def _insert_events(connection: sa.Connection, rows: list[Row]) -> list[Row]:
    """Insert `rows`, which follow each other in one epoch; those that were new.

    Which ones they were is seen by their places in the journal: nothing was at these places before, unless a mark was
    lost, and a call that was known already does not take the place of its repetition.
    """
    known = _at_places(connection, rows)
    statement, parameters = _insert_statement(connection, rows)
    inserted = connection.exec_driver_sql(statement, parameters).rowcount
    if inserted == len(rows):
        return rows
    there = _at_places(connection, rows) if inserted else known
    new = [row for row in rows if row[_LSN] not in known and there.get(row[_LSN]) == row[_ID]]
    _check_all_there(connection, rows)
    return new


def _at_places(connection: sa.Connection, rows: list[Row]) -> dict[int, str]:
    """The ids of the events that the ledger has at the places of `rows`, by their number in the epoch."""
    events = tables.usage_events.c
    query = sa.select(events.lsn, events.id).where(
        events.node_id == rows[0][_NODE],
        events.epoch == rows[0][_EPOCH],
        events.lsn.between(rows[0][_LSN], rows[-1][_LSN]),
    )
    return {row.lsn: row.id for row in connection.execute(query)}


def _insert_statement(connection: sa.Connection, rows: list[Row]) -> tuple[str, Any]:
    """INSERT … ON CONFLICT DO NOTHING, which SQLAlchemy spells per database, and its parameters for the driver.

    Compiled once and given to the driver: SQLAlchemy's handling of each row's parameters costs more than the insert.
    """
    statement: sa.Insert
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        statement = postgresql_insert(tables.usage_events).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        statement = sqlite_insert(tables.usage_events).on_conflict_do_nothing()
    compiled = statement.compile(dialect=connection.dialect, column_keys=_COLUMNS)
    return str(compiled), rows if compiled.positional else [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


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
