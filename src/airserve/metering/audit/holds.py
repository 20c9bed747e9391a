"""I6 and I7: budgets count as spent and lent what ledger and leases say, and nothing is held for ever."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa

from airserve.metering.audit.check import Check
from airserve.metering.leases import PERIODS, Window, bounds
from airserve.metering.periods import DAY_NS
from airserve.storage import tables


def audit_holds(connection: sa.Connection) -> list[Check]:
    """The checks over budgets, their windows and leases."""
    return [_windows(connection), _leases(connection)]


def _windows(connection: sa.Connection) -> Check:
    check = Check("I6", "what budgets count as spent and lent is what calls cost and nodes hold")
    spent = _spent(connection)
    left: dict[Window, int] = defaultdict(int)
    for lease in connection.execute(sa.select(tables.leases)):
        left[Window(lease.scope, lease.scope_id, lease.period, lease.start_ns)] += lease.left_nano
    for row in connection.execute(sa.select(tables.budget_windows)):
        window = Window(row.scope, row.scope_id, row.period, row.start_ns)
        what = f"{row.scope} {row.scope_id}, {row.period} from {row.start_ns}"
        check.equal(spent.pop(window, 0), row.spent_nano, f"spent by {what}")
        check.equal(left.pop(window, 0), row.leased_nano, f"lent to nodes of {what}")
    for window, nano in [*spent.items(), *left.items()]:
        check.differ(f"{window.scope} {window.scope_id} has no window of the {window.period} {window.start_ns}", nano)
    return check


def _spent(connection: sa.Connection) -> dict[Window, int]:
    """What the ledger's events cost in every window that has any of them."""
    events = tables.usage_events.c
    # A literal, not a bound parameter: PostgreSQL must see the same expression in SELECT and GROUP BY.
    day = events.admitted_ns - events.admitted_ns % sa.literal_column(str(DAY_NS))
    groups = (events.tenant_id, events.project_id, events.key_id, day)
    query = sa.select(*groups, sa.func.sum(events.amount_nano)).where(events.amount_nano > 0).group_by(*groups)
    spent: dict[Window, int] = defaultdict(int)
    for tenant_id, project_id, key_id, start_ns, nano in connection.execute(query):
        for period in PERIODS:
            start = bounds(period, int(start_ns))[0]
            for scope, scope_id in (("tenant", tenant_id), ("project", project_id), ("key", key_id)):
                if scope_id:
                    spent[Window(scope, scope_id, period, start)] += int(nano)
    return spent


def _leases(connection: sa.Connection) -> Check:
    check = Check("I7", "no credit is held by a start of a node that has ended")
    leases, nodes = tables.leases.c, tables.nodes.c
    query = (
        sa.select(leases.node_id, leases.epoch, sa.func.sum(leases.left_nano))
        .join(tables.nodes, nodes.node_id == leases.node_id)
        .where(leases.epoch < nodes.epoch, leases.left_nano > 0)
        .group_by(leases.node_id, leases.epoch)
    )
    for node_id, epoch, nano in connection.execute(query):
        check.differ(f"start {epoch} of node '{node_id}' has ended and holds {nano} nano-units", int(nano))
    check.compared = connection.scalar(sa.select(sa.func.count()).select_from(tables.leases)) or 0
    return check
