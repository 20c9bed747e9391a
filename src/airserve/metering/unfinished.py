"""Streams that have begun and not ended: what was on record of each when its first bytes left, and since then.

A stream is recorded while it runs (`Outcome.PROGRESS`), each record with all counts so far, and once when it ends. The
end is what is charged. The fold keeps the newest record of every stream without an end in `unfinished_calls`. When a
process has died, its node's next start ends what is left there: it writes each into its own journal as `PARTIAL`, and
so the ledger, audits and exports know of ended calls alone. Doing that twice changes nothing, since both are one try.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.metering.event import Outcome, UsageEvent, decode_event, encode_event
from airserve.metering.journal import Journal
from airserve.storage import tables
from airserve.storage.database import Database

_calls = tables.unfinished_calls


def try_id(event: UsageEvent) -> str:
    """What all records of one try of a call have in common."""
    return f"{event.tenant_id}/{event.id}/{event.admitted_ns}"


def follow(connection: sa.Connection, node_id: str, events: Iterable[UsageEvent]) -> None:
    """Take note of events of a node, in the order of its journal and in the transaction that folds them."""
    known = set(connection.scalars(sa.select(_calls.c.id).where(_calls.c.node_id == node_id)))
    begun: dict[str, UsageEvent] = {}
    ended: set[str] = set()
    for event in events:
        if event.outcome is Outcome.PROGRESS:
            begun[try_id(event)] = event
        elif begun or known:
            begun.pop(try_id(event), None)
            ended.add(try_id(event))
    gone = sorted(known & (ended | begun.keys()))
    if gone:
        connection.execute(sa.delete(_calls).where(_calls.c.id.in_(gone)))
    if begun:
        connection.execute(
            sa.insert(_calls),
            [{"id": id_, "node_id": node_id, "event": encode_event(event)} for id_, event in begun.items()],
        )


def unfinished(db: Database, node_id: str) -> list[UsageEvent]:
    """The newest record of each stream of the node that has begun and not ended, as far as its journals were folded."""
    query = sa.select(_calls.c.event).where(_calls.c.node_id == node_id).order_by(_calls.c.id)
    with db.read() as connection:
        return [decode_event(payload) for payload in connection.scalars(query)]


def end_unfinished(db: Database, journal: Journal, node_id: str) -> int:
    """Record the end of every stream that the node's earlier starts have left; how many there were.

    To be called by who holds the node's journal, when all older journals of the node were folded and before it serves.
    Each costs the tokens that its newest record covers. The caller folds again. Raises `OverloadedError` where the
    journal cannot be written.
    """
    events = [msgspec.structs.replace(event, outcome=Outcome.PARTIAL) for event in unfinished(db, node_id)]
    crash_point("unfinished.before_ends")
    journal.append(events)
    crash_point("unfinished.after_ends")
    return len(events)


def end_of_retired(db: Database, folder: Path, node_id: str, after_epoch: int) -> int:
    """The same for a node that will not start again. Raises `ConflictError` where it runs on this machine."""
    if not unfinished(db, node_id):
        return 0
    journal = Journal.open(folder, node_id, after_epoch=after_epoch)
    try:
        return end_unfinished(db, journal, node_id)
    finally:
        journal.close()
