"""Streams without an end in the journals: the fold must have noted just these, so that each is ended once."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.metering.audit.check import Check
from airserve.metering.audit.raw_journal import Event
from airserve.storage import tables

PROGRESS = "progress"


class Streams:
    """Told of every event of every journal, in order; `open` holds the newest record of each stream of a node."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Event] = {}

    def note(self, node_id: str, event: Event) -> None:
        """The next event of a node."""
        key = (node_id, _try_of(event))
        if event[6] == PROGRESS:
            self.open[key] = event
        elif self.open:
            self.open.pop(key, None)

    def compare(self, connection: sa.Connection, check: Check, *, whole: bool) -> None:
        """Hold what is open against what the fold has noted. Not `whole`: journals were deleted, with some begins."""
        noted: dict[tuple[str, str], Any] = {
            (row.node_id, row.id): list(msgspec.msgpack.decode(row.event))
            for row in connection.execute(sa.select(tables.unfinished_calls))
        }
        for key, event in self.open.items():
            check.compared += 1
            if key not in noted:
                check.differ(
                    f"the stream {key[1]} of node '{key[0]}' has begun, not ended, and is not noted", event[11]
                )
            elif noted[key] != list(event):
                check.differ(f"the stream {key[1]} of node '{key[0]}' is noted with other counts than recorded")
        for key in noted.keys() - self.open.keys():
            if whole:
                check.differ(f"the stream {key[1]} of node '{key[0]}' is noted as begun and is not")


def _try_of(event: Event) -> str:
    return f"{event[1]}/{event[0]}/{event[13]}"
