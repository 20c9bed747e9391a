"""The processes that serve: which there are, since when, and whether they are alive."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airserve.core.errors import ConflictError, NotFoundError
from airserve.metering import leases
from airserve.storage import Database, tables

ALIVE_NS = 10_000_000_000
"""A node that was not heard of for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node; times are UTC ns. `leased_nano` is the credit that it holds in budgets."""

    node_id: str
    epoch: int
    started_ns: int
    heartbeat_ns: int
    leased_nano: int = 0

    def alive(self, now_ns: int) -> bool:
        """Whether it was heard of lately."""
        return now_ns - self.heartbeat_ns < ALIVE_NS


def beat(connection: sa.Connection, node_id: str, epoch: int, started_ns: int, now_ns: int) -> int:
    """Say that a node is alive; how many are, this one included."""
    nodes = tables.nodes
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(nodes).values(node_id=node_id, epoch=epoch, started_ns=started_ns, heartbeat_ns=now_ns)
    values = {name: insert.excluded[name] for name in ("epoch", "started_ns", "heartbeat_ns")}
    connection.execute(insert.on_conflict_do_update(index_elements=["node_id"], set_=values))
    alive = sa.select(sa.func.count()).select_from(nodes).where(nodes.c.heartbeat_ns > now_ns - ALIVE_NS)
    return int(connection.execute(alive).scalar_one())


def leave(connection: sa.Connection, node_id: str) -> None:
    """A node stops in good order: the others need not wait to find that out."""
    connection.execute(sa.update(tables.nodes).where(tables.nodes.c.node_id == node_id).values(heartbeat_ns=0))


def list_nodes(db: Database) -> list[Node]:
    """All nodes that have ever served and were not retired, by id."""
    nodes, leased = tables.nodes.c, tables.leases.c
    total = sa.func.coalesce(sa.func.sum(leased.left_nano), 0)
    query = (
        sa.select(nodes.node_id, nodes.epoch, nodes.started_ns, nodes.heartbeat_ns, total)
        .select_from(tables.nodes.outerjoin(tables.leases, nodes.node_id == leased.node_id))
        .group_by(nodes.node_id, nodes.epoch, nodes.started_ns, nodes.heartbeat_ns)
        .order_by(nodes.node_id)
    )
    with db.read() as connection:
        return [Node(*row[:4], int(row[4])) for row in connection.execute(query)]


def retire(db: Database, node_id: str, now_ns: int) -> int:
    """Free the credit of a node that will not start again, and forget it; how much that frees.

    Raises `NotFoundError`, and `ConflictError` for a node that is alive.
    """
    with db.write(announce=False) as connection:
        _check_retires(connection, node_id, now_ns)
        freed = leases.free(connection, node_id)
        connection.execute(sa.delete(tables.nodes).where(tables.nodes.c.node_id == node_id))
    return freed


def check_retires(db: Database, node_id: str, now_ns: int) -> None:
    """Raises what `retire` would."""
    with db.read() as connection:
        _check_retires(connection, node_id, now_ns)


def _check_retires(connection: sa.Connection, node_id: str, now_ns: int) -> None:
    row = connection.execute(sa.select(tables.nodes).where(tables.nodes.c.node_id == node_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no node '{node_id}'; see airserve nodes list")
    if Node(*row).alive(now_ns):
        raise ConflictError(f"node '{node_id}' is alive; stop it first, then retire it")
