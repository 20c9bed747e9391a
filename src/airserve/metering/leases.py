"""Budgets in the database: what was spent in a window, and the credit that nodes hold of what is left.

A budget is over a scope (tenant, project or key) and a period (day, month, total). Each period is a window, a row of
`budget_windows` keyed by its start; nothing is ever reset. Of a window the database knows

    spent    what the ledger holds of calls admitted in it
    leased   the sum of `left_nano` over all its leases, cached in the row so that one UPDATE can test and take

and a limit L over it means: spent + leased ≤ L, at every commit. These change it:

    grant      leased += x, left += x     one UPDATE, WHERE spent + leased + x ≤ L
    give_back  leased −= x, left −= x     x ≤ left
    settle     spent  += a, and m = min(a, left) moves out of the lease: leased −= m, left −= m
    free       leased −= left, and the lease is gone

While a < left (always, where calls cost at most what they hold: `strict`) settling keeps the sum; a call that cost more
than it held (`hard`) passes the limit by just that. A node spends from its lease without asking: its share of what was
spent stays in `left` until the fold has brought it into `spent`, in the same transaction that inserts the events. So an
event that is folded twice, or not at all, moves credit exactly as often as money. What a node may still spend is

    available = left − Σ settled by this node, not yet folded − Σ open holds

where the first two are read in one state of the database (`look` gives the position up to which all was folded).

A lease belongs to one start (epoch) of a node. A crashed node's lease stays until its journal has been folded, since
the journal may hold calls that nobody has counted: then its next start frees it, or an operator with `airserve nodes
retire`. An event whose epoch has no lease of its own (a journal begins a new epoch after a disk error) settles from
the lease of the start before it.

Whoever changes a lease has first locked its window's row (an UPDATE that changes nothing does), in the order of
`Window`; so what is read after it cannot change, on PostgreSQL's READ COMMITTED too, and nobody waits in a circle.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airserve.core.crash_points import crash_point
from airserve.storage import tables

DAY_NS = 86_400_000_000_000
FOREVER_NS = (1 << 63) - 1
PERIODS = ("day", "month", "total")


class Window(NamedTuple):
    """One period of one scope; `start_ns` is UTC, 0 for `total`."""

    scope: str
    scope_id: str
    period: str
    start_ns: int


class Spent(NamedTuple):
    """An event that is new to the ledger, as far as budgets are concerned."""

    tenant_id: str
    project_id: str
    key_id: str
    amount_nano: int
    admitted_ns: int
    node_id: str
    epoch: int


class Looked(NamedTuple):
    """A window, and one node's lease in it, at one moment."""

    spent_nano: int
    leased_nano: int
    left_nano: int
    wanted_ns: int


def bounds(period: str, at_ns: int) -> tuple[int, int]:
    """Start and end (exclusive) of the period of UTC nanoseconds that holds `at_ns`."""
    if period == "total":
        return 0, FOREVER_NS
    if period == "day":
        start = at_ns // DAY_NS * DAY_NS
        return start, start + DAY_NS
    day = dt.date(1970, 1, 1) + dt.timedelta(days=at_ns // DAY_NS)
    first = day.replace(day=1)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    return _midnight_ns(first), _midnight_ns(following)


def _midnight_ns(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * DAY_NS


def settle(connection: sa.Connection, rows: Iterable[Spent]) -> None:
    """Count events that have just been inserted, in the transaction that inserts them."""
    amounts: dict[Window, int] = defaultdict(int)
    by_lease: dict[Window, dict[tuple[str, int], int]] = defaultdict(lambda: defaultdict(int))
    starts: dict[tuple[str, int], int] = {}
    for row in rows:
        if not row.amount_nano:
            continue
        day = row.admitted_ns // DAY_NS
        for period in PERIODS:
            start = starts.get((period, day))
            if start is None:
                start = starts[period, day] = bounds(period, row.admitted_ns)[0]
            for scope, scope_id in (("tenant", row.tenant_id), ("project", row.project_id), ("key", row.key_id)):
                if scope_id:
                    window = Window(scope, scope_id, period, start)
                    amounts[window] += row.amount_nano
                    by_lease[window][row.node_id, row.epoch] += row.amount_nano
    for window in sorted(amounts):
        leased = _spend(connection, window, amounts[window])
        crash_point("leases.amid_settle")
        if leased:
            for (node_id, epoch), amount in sorted(by_lease[window].items()):
                _move(connection, window, node_id, epoch, amount)


def _spend(connection: sa.Connection, window: Window, amount: int) -> int:
    """Add to what was spent; how much is leased."""
    windows = tables.budget_windows
    insert = _insert(connection, windows).values(**window._asdict(), spent_nano=amount)
    added = insert.on_conflict_do_update(
        index_elements=list(Window._fields), set_={"spent_nano": windows.c.spent_nano + insert.excluded.spent_nano}
    )
    return int(connection.execute(added.returning(windows.c.leased_nano)).scalar_one())


def _move(connection: sa.Connection, window: Window, node_id: str, epoch: int, amount: int) -> None:
    leases = tables.leases.c
    query = (
        sa.select(leases.epoch, leases.left_nano)
        .where(leases.node_id == node_id, leases.epoch <= epoch, *_is(tables.leases, window))
        .order_by(leases.epoch.desc())
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    if found is not None and found.left_nano:
        _take(connection, window, node_id, found.epoch, min(amount, found.left_nano))


def grant(
    connection: sa.Connection, window: Window, node_id: str, epoch: int, amount_nano: int, limit_nano: int
) -> bool:
    """Lease `amount_nano` more, if the limit allows it."""
    windows, leases = tables.budget_windows.c, tables.leases
    taken = connection.execute(
        sa.update(tables.budget_windows)
        .where(
            *_is(tables.budget_windows, window), windows.spent_nano + windows.leased_nano + amount_nano <= limit_nano
        )
        .values(leased_nano=windows.leased_nano + amount_nano)
    )
    if not taken.rowcount:
        return False
    crash_point("leases.amid_grant")
    insert = _insert(connection, leases).values(node_id=node_id, epoch=epoch, **window._asdict(), left_nano=amount_nano)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["node_id", "epoch", *Window._fields],
            set_={"left_nano": leases.c.left_nano + insert.excluded.left_nano},
        )
    )
    return True


def give_back(connection: sa.Connection, window: Window, node_id: str, epoch: int, amount_nano: int) -> None:
    """Return part of a lease that nobody will spend. The window is locked (`look`)."""
    _take(connection, window, node_id, epoch, amount_nano)


def look(connection: sa.Connection, window: Window, node_id: str, epoch: int) -> Looked:
    """Lock a window, which is made where it is new, and read it and the lease."""
    windows, leases = tables.budget_windows, tables.leases.c
    insert = _insert(connection, windows).values(**window._asdict(), spent_nano=0)
    locked = insert.on_conflict_do_update(
        index_elements=list(Window._fields), set_={"spent_nano": windows.c.spent_nano}
    ).returning(windows.c.spent_nano, windows.c.leased_nano, windows.c.wanted_ns)
    spent, leased, wanted_ns = connection.execute(locked).one()
    query = sa.select(leases.left_nano).where(
        leases.node_id == node_id, leases.epoch == epoch, *_is(tables.leases, window)
    )
    return Looked(spent, leased, connection.execute(query).scalar() or 0, wanted_ns)


def peek(connection: sa.Connection, windows: Sequence[Window], node_id: str, epoch: int) -> dict[Window, Looked]:
    """Those of `windows` that there are, read and not locked: a state of the database as a whole."""
    rows, leases = tables.budget_windows.c, tables.leases.c
    ids = sorted({window.scope_id for window in windows})
    found: dict[Window, Looked] = {}
    for start in range(0, len(ids), 200):
        some = ids[start : start + 200]
        mine = sa.select(*(leases[name] for name in Window._fields), leases.left_nano).where(
            leases.node_id == node_id, leases.epoch == epoch, leases.scope_id.in_(some)
        )
        left = {Window(*row[:4]): row.left_nano for row in connection.execute(mine)}
        starts = sorted({window.start_ns for window in windows})
        query = sa.select(
            *(rows[name] for name in Window._fields), rows.spent_nano, rows.leased_nano, rows.wanted_ns
        ).where(rows.scope_id.in_(some), rows.start_ns.in_(starts))
        for row in connection.execute(query):
            window = Window(*row[:4])
            found[window] = Looked(row.spent_nano, row.leased_nano, left.get(window, 0), row.wanted_ns)
    return found


def want(connection: sa.Connection, window: Window, now_ns: int) -> None:
    """Ask the other nodes for what they do not need. The window is locked."""
    connection.execute(
        sa.update(tables.budget_windows).where(*_is(tables.budget_windows, window)).values(wanted_ns=now_ns)
    )


def positions(connection: sa.Connection, node_id: str, from_epoch: int) -> dict[int, int]:
    """Up to which number each epoch of a node was folded, from `from_epoch` on."""
    marks = tables.journal_marks.c
    query = sa.select(marks.epoch, marks.lsn).where(marks.node_id == node_id, marks.epoch >= from_epoch)
    return {row.epoch: row.lsn for row in connection.execute(query)}


def free(connection: sa.Connection, node_id: str, before_epoch: int = FOREVER_NS) -> int:
    """Drop the leases of a node's older starts, whose journals have been folded; how much credit that frees."""
    leases = tables.leases.c
    query = sa.select(*(leases[name] for name in Window._fields), leases.epoch).where(
        leases.node_id == node_id, leases.epoch < before_epoch
    )
    freed = 0
    for *key, epoch in sorted(map(tuple, connection.execute(query))):
        window = Window(*key)
        left = look(connection, window, node_id, epoch).left_nano
        _take(connection, window, node_id, epoch, left)
        crash_point("leases.amid_free")
        connection.execute(
            sa.delete(tables.leases).where(
                leases.node_id == node_id, leases.epoch == epoch, *_is(tables.leases, window)
            )
        )
        freed += left
    return freed


def _take(connection: sa.Connection, window: Window, node_id: str, epoch: int, amount: int) -> None:
    """Out of a lease. The window is locked."""
    windows, leases = tables.budget_windows, tables.leases
    connection.execute(
        sa.update(windows).where(*_is(windows, window)).values(leased_nano=windows.c.leased_nano - amount)
    )
    crash_point("leases.amid_take")
    connection.execute(
        sa.update(leases)
        .where(leases.c.node_id == node_id, leases.c.epoch == epoch, *_is(leases, window))
        .values(left_nano=leases.c.left_nano - amount)
    )


def _is(table: sa.Table, window: Window) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in zip(Window._fields, window, strict=True)]


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT with ON CONFLICT, which SQLAlchemy spells per database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
