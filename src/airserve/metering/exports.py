"""What other systems were told of usage: a mark for each of them, so that nothing is left out.

A mark moves after its events were received. A crash in between sends some again; the id of an event tells repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airserve.storage import Database, tables


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one epoch of one node, in order, and the number to remember once they were received."""

    node_id: str
    epoch: int
    events: Sequence[Any]
    lsn: int


def next_batch(database: Database, sink: str, limit: int) -> Batch | None:
    """The next at most `limit` events that `sink` was not told of; None where it knows all that was folded."""
    folded, marks, events = tables.journal_marks, tables.export_marks, tables.usage_events
    told = sa.func.coalesce(marks.c.lsn, 0)
    waiting = (
        sa.select(folded.c.node_id, folded.c.epoch, folded.c.lsn, told)
        .join_from(
            folded,
            marks,
            sa.and_(marks.c.sink == sink, marks.c.node_id == folded.c.node_id, marks.c.epoch == folded.c.epoch),
            isouter=True,
        )
        .where(folded.c.lsn > told)
        .order_by(folded.c.node_id, folded.c.epoch)
        .limit(1)
    )
    with database.read() as connection:
        row = connection.execute(waiting).first()
        if row is None:
            return None
        node_id, epoch, last, after = row
        query = (
            sa.select(events)
            .where(events.c.node_id == node_id, events.c.epoch == epoch, events.c.lsn > after)
            .order_by(events.c.lsn)
            .limit(limit)
        )
        found = connection.execute(query).all()
    # The last numbers may be of calls that the ledger knew already, and have no row.
    return Batch(node_id, epoch, found, found[-1].lsn if len(found) == limit else last)


def received(database: Database, sink: str, batch: Batch) -> None:
    """Remember that `sink` was told of the batch."""
    marks = tables.export_marks
    this = (marks.c.sink == sink, marks.c.node_id == batch.node_id, marks.c.epoch == batch.epoch)
    with database.write(announce=False, lock="exports") as connection:
        changed = connection.execute(
            sa.update(marks).where(*this, marks.c.lsn < batch.lsn).values(lsn=batch.lsn)
        ).rowcount
        if not changed and connection.scalar(sa.select(marks.c.lsn).where(*this)) is None:
            values = {"sink": sink, "node_id": batch.node_id, "epoch": batch.epoch, "lsn": batch.lsn}
            connection.execute(sa.insert(marks).values(values))


def refuse(database: Database, sink: str, event_id: str, reason: str, *, now_ns: int) -> None:
    """Remember that `sink` wants nothing of this event, and why; it is not sent again by itself."""
    table = tables.export_refusals
    this = (table.c.sink == sink, table.c.event_id == event_id)
    with database.write(announce=False, lock="exports") as connection:
        connection.execute(sa.delete(table).where(*this))
        connection.execute(sa.insert(table).values(sink=sink, event_id=event_id, reason=reason[:300], at_ns=now_ns))
