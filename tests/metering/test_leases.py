from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.metering import leases, nodes
from airserve.metering.leases import Looked, Spent, Window, bounds
from airserve.storage import Database

DAY = 20_000 * leases.DAY_NS
WINDOWS = [
    Window(scope, scope_id, period, bounds(period, DAY)[0])
    for scope, scope_id in (("tenant", "ten"), ("project", "prj"), ("key", "key"))
    for period in leases.PERIODS
]
TOTAL = Window("tenant", "ten", "total", 0)


def spent(nano: int, node: str = "a", epoch: int = 1, admitted_ns: int = DAY) -> Spent:
    return Spent("ten", "prj", "key", nano, admitted_ns, node, epoch)


def look(database: Database, node: str = "a", epoch: int = 1) -> Looked:
    with database.read() as connection:
        return leases.peek(connection, [TOTAL], node, epoch).get(TOTAL, Looked(0, 0, 0, 0))


def grant(database: Database, nano: int, node: str = "a", epoch: int = 1, limit: int = 100) -> bool:
    with database.write(announce=False) as connection:
        leases.look(connection, TOTAL, node, epoch)
        return leases.grant(connection, TOTAL, node, epoch, nano, limit)


def settle(database: Database, *rows: Spent) -> None:
    with database.write(announce=False) as connection:
        leases.settle(connection, rows)


def test_no_more_is_leased_than_the_limit_leaves_whoever_asks(database: Database) -> None:
    settle(database, spent(10))
    assert grant(database, 60)
    assert not grant(database, 31, "b")
    assert grant(database, 30, "b")
    assert not grant(database, 1)
    assert look(database) == Looked(10, 90, 60, 0)
    assert look(database, "b") == Looked(10, 90, 30, 0)


def test_what_is_settled_leaves_the_lease_that_it_was_spent_from(database: Database) -> None:
    assert grant(database, 60)
    assert grant(database, 20, "b")
    settle(database, spent(25), spent(5, "b"), spent(10))
    assert look(database) == Looked(40, 40, 25, 0)
    assert look(database, "b").left_nano == 15
    # More than was leased, as a hard budget may: the lease ends at nothing, and all of it is counted.
    settle(database, spent(30))
    assert look(database) == Looked(70, 15, 0, 0)


def test_an_event_settles_from_the_latest_lease_of_its_node_at_or_before_its_epoch(database: Database) -> None:
    assert grant(database, 30, epoch=2)
    settle(database, spent(10, epoch=1))
    assert look(database, epoch=2).left_nano == 30
    # A journal that began a new epoch after a disk error.
    settle(database, spent(10, epoch=3))
    assert look(database, epoch=2) == Looked(20, 20, 20, 0)
    settle(database, spent(5, "b", epoch=2))
    assert look(database, epoch=2).left_nano == 20


def test_every_window_of_tenant_project_and_key_counts_what_was_spent_in_it(database: Database) -> None:
    settle(database, spent(7), spent(0), spent(3, admitted_ns=DAY + leases.DAY_NS))
    with database.read() as connection:
        seen = leases.peek(connection, WINDOWS, "a", 1)
    assert {window: seen[window].spent_nano for window in WINDOWS} == {
        window: 7 if window.period == "day" else 10 for window in WINDOWS
    }


def test_only_older_starts_of_the_node_itself_are_freed(database: Database) -> None:
    for node, epoch in (("a", 1), ("a", 2), ("b", 1)):
        assert grant(database, 20, node, epoch)
    with database.write(announce=False) as connection:
        assert leases.free(connection, "a", 2) == 20
        assert leases.free(connection, "a", 2) == 0
    assert look(database, "a", 1).left_nano == 0
    assert look(database, "a", 2) == Looked(0, 40, 20, 0)
    assert look(database, "b", 1).left_nano == 20


def test_a_node_that_leaves_is_not_counted_among_those_that_share(database: Database) -> None:
    now_ns = time.time_ns()
    with database.write(announce=False) as connection:
        assert nodes.beat(connection, "a", 1, now_ns, now_ns) == 1
        assert nodes.beat(connection, "b", 1, now_ns, now_ns) == 2
        nodes.leave(connection, "b")
        assert nodes.beat(connection, "a", 1, now_ns, now_ns + 1) == 1
        assert nodes.beat(connection, "c", 1, now_ns, now_ns + nodes.ALIVE_NS + 1) == 1


@pytest.mark.parametrize("period", leases.PERIODS)
@given(st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2200, 1, 1)))
def test_a_moment_is_in_its_period_and_periods_follow_each_other(period: str, moment: dt.datetime) -> None:
    at_ns = int(moment.replace(tzinfo=dt.UTC).timestamp()) * 1_000_000_000
    start, end = bounds(period, at_ns)
    assert start <= at_ns < end
    assert bounds(period, start) == (start, end)
    if period != "total":
        assert bounds(period, end)[0] == end
    if period == "month":
        begin = dt.datetime.fromtimestamp(start // 1_000_000_000, dt.UTC)
        assert (begin.year, begin.month, begin.day, begin.hour) == (moment.year, moment.month, 1, 0)
