"""Limits that several processes share: one GCRA row each, from which every process leases what it lets through.

Whatever is admitted anywhere was taken out of the row first, so all together hold the rate of the limit. A process that
dies takes what it had leased along: at most a small share of the quota, and only until the row has drained.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airserve.serving import gcra
from airserve.serving.gcra import Rate
from airserve.storage import tables

Key = tuple[str, str, str]
"""Scope, id, and name of the limit."""


class Leased(NamedTuple):
    """Units that were leased, room that is left for others, and how long until there is room for one more."""

    units: int
    room: int
    wait_ns: int


def lease(
    connection: sa.Connection, key: Key, rate: Rate, now_ns: int, *, least: int, wanted: int, nodes: int, debt: int = 0
) -> Leased:
    """Take `wanted` units, and for a start a share of the room, at least `least` where there is as much.

    `debt` units were used already and are taken in any case; `now_ns` is UTC.
    """
    tat_ns = _locked(connection, key)
    if debt:
        tat_ns = gcra.spend(rate, tat_ns, now_ns, debt)
    room = max(0, gcra.room(rate, tat_ns, now_ns))
    units = min(room, max(least, min(wanted, room // nodes)))
    if units:
        tat_ns = gcra.spend(rate, tat_ns, now_ns, units)
    if units or debt:
        _store(connection, key, tat_ns)
    return Leased(units, room - units, gcra.wait_ns(rate, tat_ns, now_ns, 1))


def give_back(connection: sa.Connection, key: Key, rate: Rate, units: int) -> None:
    """Units that nobody used."""
    _store(connection, key, gcra.give_back(rate, _locked(connection, key), units))


def publish(connection: sa.Connection, key: Key, level_ns: int, now_ns: int) -> None:
    """Add what one process had counted alone, as the time that its bucket takes to drain."""
    _store(connection, key, max(_locked(connection, key), now_ns) + level_ns)


def read(connection: sa.Connection, key: Key) -> int:
    """The theoretical arrival time, UTC; 0 for a limit that nobody has used."""
    return _locked(connection, key)


def _locked(connection: sa.Connection, key: Key) -> int:
    """The state, which nobody else changes until the transaction ends."""
    states = tables.rate_states
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(states).values(scope=key[0], scope_id=key[1], name=key[2], tat_ns=0)
    locked = insert.on_conflict_do_update(
        index_elements=["scope", "scope_id", "name"], set_={"tat_ns": states.c.tat_ns}
    )
    return int(connection.execute(locked.returning(states.c.tat_ns)).scalar_one())


def _store(connection: sa.Connection, key: Key, tat_ns: int) -> None:
    states = tables.rate_states
    where = states.c.scope == key[0], states.c.scope_id == key[1], states.c.name == key[2]
    connection.execute(sa.update(states).where(*where).values(tat_ns=tat_ns))
