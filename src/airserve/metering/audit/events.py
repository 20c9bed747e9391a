"""I2, I4 and I10: the events of the journals are those of the ledger, each once, and each costs what its price says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airserve.metering.audit.check import Check
from airserve.metering.audit.progress import PROGRESS, Streams
from airserve.metering.audit.raw_journal import Event, epochs, events
from airserve.metering.event import COSTS, UsageEvent
from airserve.metering.monthly_usage import full_amount_nano
from airserve.metering.periods import period_of
from airserve.metering.prices import FREE, read_prices
from airserve.storage import tables

_FIELDS = UsageEvent.__struct_fields__[1:]
_AT_A_TIME = 5_000
_COSTS = {outcome.value for outcome in COSTS}

Sums = dict[tuple[str, str, str], int]
"""Nano-units by tenant, currency and the month of the service."""


def audit_events(connection: sa.Connection, folder: Path) -> tuple[list[Check], Sums]:
    """The checks, and what the calls cost by the journals (or by the ledger, where a journal was deleted)."""
    held = Check("I2", "every call of the journals is in the ledger once, as it was recorded")
    marks = Check("I4", "the ledger holds just what the journals were read to")
    rated = Check("I10", "every call costs what its price says")
    prices = {price.id: price for price in read_prices(connection, sa.true())} | {FREE.id: FREE}
    files = epochs(folder)
    sums: Sums = defaultdict(int)
    streams = Streams()
    without_journal = 0
    for node_id, epoch, mark_lsn in _epochs_of_ledger(connection):
        rows = _rows(connection, node_id, epoch)
        recorded = events(files.get((node_id, epoch), []), mark_lsn)
        place = f"{node_id}-{epoch:08d}"
        first_lsn, last_lsn = None, 0
        row = next(rows, None)
        while window := list(islice(recorded, _AT_A_TIME)):
            first_lsn = window[0][0] if first_lsn is None else first_lsn
            elsewhere: list[tuple[int, Event]] = []
            for lsn, event in window:
                if last_lsn and lsn != last_lsn + 1:
                    held.differ(f"{place}: frames {last_lsn + 1} to {lsn - 1} are not in the journal")
                last_lsn = lsn
                held.compared += 1
                while row is not None and row.lsn < lsn:
                    if row.lsn < first_lsn:
                        without_journal += 1
                    else:
                        held.differ(f"{place}: {row.id} (number {row.lsn}) is in no journal", row.amount_nano)
                    _count(row, sums, rated, prices)
                    row = next(rows, None)
                if isinstance(event, str):
                    held.differ(f"{place}: {event}")
                    continue
                streams.note(node_id, event)
                if event[6] == PROGRESS and (row is None or row.lsn != lsn):
                    continue
                if row is not None and row.lsn == lsn:
                    _compare(event, row, held, place)
                    _count(row, sums, rated, prices)
                    row = next(rows, None)
                else:
                    elsewhere.append((lsn, event))
            _must_be_known(connection, elsewhere, held, place)
        marks.compared += 1
        while row is not None:
            if row.lsn > mark_lsn:
                marks.differ(f"{place}: {row.id} (number {row.lsn}) is behind the mark {mark_lsn}", row.amount_nano)
            elif first_lsn is None:
                without_journal += 1
            else:
                held.differ(f"{place}: {row.id} (number {row.lsn}) is in no journal", row.amount_nano)
            _count(row, sums, rated, prices)
            row = next(rows, None)
        if first_lsn is not None and last_lsn < mark_lsn:
            held.differ(f"{place}: frames {last_lsn + 1} to {mark_lsn} were read once and are not in the journal")
    streams.compare(connection, held, whole=not without_journal)
    if without_journal:
        held.note = f"{without_journal} calls whose journal was deleted could not be compared"
    return [held, marks, rated], sums


def _epochs_of_ledger(connection: sa.Connection) -> list[tuple[str, int, int]]:
    """Every node and epoch with the last number that was read; 0 where there are events and no mark."""
    marks, rows = tables.journal_marks.c, tables.usage_events.c
    found = {(each.node_id, each.epoch): each.lsn for each in connection.execute(sa.select(*marks))}
    for node_id, epoch in connection.execute(sa.select(rows.node_id, rows.epoch).distinct()):
        found.setdefault((node_id, epoch), 0)
    return [(node_id, epoch, lsn) for (node_id, epoch), lsn in sorted(found.items())]


def _rows(connection: sa.Connection, node_id: str, epoch: int) -> Iterator[Any]:
    table = tables.usage_events
    after = 0
    while True:
        query = (
            sa.select(table)
            .where(table.c.node_id == node_id, table.c.epoch == epoch, table.c.lsn > after)
            .order_by(table.c.lsn)
            .limit(_AT_A_TIME)
        )
        page = connection.execute(query).all()
        yield from page
        if len(page) < _AT_A_TIME:
            return
        after = page[-1].lsn


def ledger_id_of(event: Event) -> str:
    """The ledger's id of a call, by its rule: an answered call is one, each free end and each partial try another."""
    call_id, tenant_id, outcome, admitted_ns = event[0], event[1], event[6], event[13]
    suffix = {"ok": "", "partial": f"/partial/{admitted_ns}"}.get(outcome, f"/{outcome}")
    return f"{tenant_id}/{call_id}{suffix}"


def _compare(event: Event, row: Any, held: Check, place: str) -> None:
    expected = {"id": ledger_id_of(event), **dict(zip(_FIELDS, event[1:], strict=False))}
    for name, value in expected.items():
        if getattr(row, name) != value:
            nano = value - row.amount_nano if name == "amount_nano" else 0
            held.differ(f"{place}: {row.id} (number {row.lsn}) has {name} {getattr(row, name)}, recorded {value}", nano)


def _must_be_known(connection: sa.Connection, elsewhere: Sequence[tuple[int, Event]], held: Check, place: str) -> None:
    """What has no row at its place is the repetition of a call that has one elsewhere."""
    ids = {ledger_id_of(event): (lsn, event) for lsn, event in elsewhere}
    names = sorted(ids)
    rows = tables.usage_events.c
    for start in range(0, len(names), 500):
        some = names[start : start + 500]
        known = set(connection.scalars(sa.select(rows.id).where(rows.id.in_(some))))
        for name in some:
            if name not in known:
                lsn, event = ids[name]
                held.differ(f"{place}: {name} (number {lsn}) was recorded and is not in the ledger", event[11])


def _count(row: Any, sums: Sums, rated: Check, prices: dict[int, Any]) -> None:
    if row.amount_nano:
        sums[row.tenant_id, row.currency, period_of(row.admitted_ns)] += row.amount_nano
    if row.outcome not in _COSTS:
        if row.amount_nano:
            rated.differ(f"{row.id} ended '{row.outcome}' and was charged {row.amount_nano}", row.amount_nano)
        return
    price = prices.get(row.price_id)
    if price is None:
        rated.note = "calls whose price is not in the table could not be rated again"
        return
    full = full_amount_nano(price, row)
    rated.equal(min(full, row.cap_nano) if row.cap_nano else full, row.amount_nano, row.id)
