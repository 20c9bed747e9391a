"""I3, I5, I8 and I9: the entries of the ledger, its balances, and what was invoiced from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from airserve.metering.audit.check import Check
from airserve.metering.currencies import nano_per_minor
from airserve.metering.postings import USAGE
from airserve.metering.rating import FROM_USAGE
from airserve.storage import tables

_APPEND_ONLY = (
    "usage_events",
    "prices",
    "ledger_accounts",
    "ledger_entries",
    "closed_periods",
    "invoices",
    "invoice_lines",
)
_SETTLED = ("payment",)


def audit_books(connection: sa.Connection, charged: Mapping[tuple[str, str, str], int]) -> list[Check]:
    """The checks; `charged` is what calls cost by tenant, currency and month, from the journals."""
    return [
        _charged_once(connection),
        _entries_of_calls(connection, charged),
        _balances(connection),
        _append_only(connection),
        _invoices(connection),
        _closed(connection),
    ]


def _charged_once(connection: sa.Connection) -> Check:
    check = Check("I3", "no call is charged twice")
    entries = tables.ledger_entries.c
    query = sa.select(entries.event_id, entries.kind, sa.func.count(), sa.func.sum(entries.amount_nano)).where(
        entries.event_id.is_not(None)
    )
    repeated = query.group_by(entries.event_id, entries.kind).having(sa.func.count() > 1)
    for event_id, kind, times, nano in connection.execute(repeated):
        check.differ(f"{event_id} was posted {times} times as '{kind}'", int(nano))
    check.compared = connection.scalar(sa.select(sa.func.count(entries.event_id))) or 0
    return check


def _entries_of_calls(connection: sa.Connection, charged: Mapping[tuple[str, str, str], int]) -> Check:
    """Each call that costs has its entry, and by month they are what the journals say."""
    check = Check("I5", "every call that costs has one entry, naming its price")
    events, entries, names = tables.usage_events.c, tables.ledger_entries.c, tables.ledger_accounts
    joined = sa.select(
        events.id, events.amount_nano, events.currency, events.price_id, entries.id, entries.amount_nano
    ).select_from(
        tables.usage_events.outerjoin(
            tables.ledger_entries, sa.and_(entries.event_id == events.id, entries.kind == USAGE)
        )
    )
    wrong = joined.where(
        events.amount_nano > 0,
        sa.or_(
            entries.id.is_(None), entries.amount_nano != events.amount_nano, entries.currency != events.currency,
            entries.price_id != events.price_id, entries.tenant_id != events.tenant_id,
        ),
    )  # fmt: skip
    for event_id, nano, currency, price_id, entry_id, posted in connection.execute(wrong):
        check.differ(
            f"{event_id}: {nano} of {currency} at price {price_id} expected, "
            + (f"entry {entry_id} has {posted}" if entry_id else "no entry found"),
            nano - (posted or 0),
        )
    stray = (
        sa.select(entries.id, entries.event_id, entries.amount_nano)
        .select_from(tables.ledger_entries.outerjoin(tables.usage_events, entries.event_id == events.id))
        .where(entries.kind == USAGE, events.id.is_(None))
    )
    for entry_id, event_id, nano in connection.execute(stray):
        check.differ(f"entry {entry_id} is of a call {event_id} that is not there", nano)
    debit, credit = names.alias(), names.alias()
    sums: dict[tuple[str, str, str], int] = defaultdict(int)
    query = (
        sa.select(
            entries.tenant_id, entries.currency, entries.service_period, entries.period, debit.c.code, credit.c.code,
            debit.c.tenant_id, sa.func.sum(entries.amount_nano),
        )
        .join(debit, debit.c.id == entries.debit_id)
        .join(credit, credit.c.id == entries.credit_id)
        .where(entries.kind == USAGE)
        .group_by(
            entries.tenant_id, entries.currency, entries.service_period, entries.period, debit.c.code, credit.c.code,
            debit.c.tenant_id,
        )
    )  # fmt: skip
    for tenant_id, currency, served, _period, owed, earned, owner, nano in connection.execute(query):
        if (owed, earned, owner) != ("receivable", "revenue", tenant_id):
            check.differ(f"usage of {tenant_id} in {served} was posted from {earned} to {owed} of '{owner}'", int(nano))
        sums[tenant_id, currency, served] += int(nano)
    for key in sorted(charged.keys() | sums.keys()):
        check.equal(charged.get(key, 0), sums.get(key, 0), "usage of {} in {} of {}".format(*key))
    return check


def _balances(connection: sa.Connection) -> Check:
    check = Check("I5", "debits equal credits, and balances are the sums of their entries")
    entries, accounts = tables.ledger_entries.c, tables.ledger_accounts.c
    currencies = {row.id: row.currency for row in connection.execute(sa.select(accounts.id, accounts.currency))}
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for side, column in enumerate((entries.debit_id, entries.credit_id)):
        query = sa.select(column, entries.period, entries.currency, sa.func.sum(entries.amount_nano)).group_by(
            column, entries.period, entries.currency
        )
        for account_id, period, currency, nano in connection.execute(query):
            sums[account_id, period][side] += int(nano)
            if currencies.get(account_id) != currency:
                check.differ(f"account {account_id} has entries in {currency}", int(nano))
    cached = {
        (row.account_id, row.period): [row.debits_nano, row.credits_nano]
        for row in connection.execute(sa.select(tables.ledger_balances))
    }
    for key in sorted(sums.keys() | cached.keys()):
        for side, word in enumerate(("debits", "credits")):
            expected = sums[key][side] if key in sums else 0
            found = cached[key][side] if key in cached else 0
            check.equal(expected, found, f"{word} of account {key[0]} in {key[1]}")
    totals: dict[str, int] = defaultdict(int)
    for (account_id, _), (debits, credits_) in cached.items():
        totals[currencies.get(account_id, "?")] += debits - credits_
    for currency, nano in totals.items():
        check.equal(0, nano, f"debits less credits in {currency}")
    return check


def _append_only(connection: sa.Connection) -> Check:
    """Whether what keeps rows from being changed is in place."""
    check = Check("I5", "what was written cannot be changed")
    if connection.dialect.name == "sqlite":
        query = sa.text("SELECT tbl_name, COUNT(*) FROM sqlite_master WHERE type = 'trigger' GROUP BY tbl_name")
        needed = 2
    else:
        query = sa.text(
            "SELECT c.relname, COUNT(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' GROUP BY c.relname"
        )
        needed = 1
    there = {row[0]: row[1] for row in connection.execute(query)}
    for table in _APPEND_ONLY:
        check.compared += 1
        if there.get(table, 0) < needed:
            check.differ(f"the triggers that keep {table} append-only are not there")
    return check


def _invoices(connection: sa.Connection) -> Check:
    """By invoice, what it added; by tenant and month, the usage that was billed."""
    check = Check("I8", "the lines of every invoice are what the ledger was told")
    invoices, lines, changes = tables.invoices.c, tables.invoice_lines.c, tables.invoice_changes.c
    from_usage = [kind.value for kind in FROM_USAGE]
    void = set(connection.scalars(sa.select(changes.invoice_id).where(changes.state == "void")))
    posted = _posted_by_invoice(connection)
    totals: dict[str, int] = defaultdict(int)
    billed: dict[tuple[str, str, str], int] = defaultdict(int)
    voided: dict[tuple[str, str, str], int] = defaultdict(int)
    rows: list[Any] = list(connection.execute(sa.select(tables.invoices).order_by(invoices.id)))
    of = {row.id: row for row in rows}
    for line in connection.execute(sa.select(tables.invoice_lines).order_by(lines.invoice_id, lines.line)):
        invoice = of[line.invoice_id]
        if invoice.kind == "invoice" and line.kind in from_usage:
            of_whom = voided if invoice.id in void else billed
            of_whom[invoice.tenant_id, invoice.currency, line.service_period] += line.amount_nano
        else:
            totals[invoice.id] += line.amount_nano
    for row in rows:
        tax = row.tax_minor * nano_per_minor(row.currency)
        check.equal(totals[row.id] + tax, posted.get(row.id, 0), f"{row.kind} {row.id}")
        check.equal(row.net_minor + row.tax_minor, row.total_minor, f"total of {row.id}, in minor units")
    usage = _usage(connection)
    for key in sorted(billed):
        of_closed, late = usage.get(key, (0, 0))
        # What was on one that is void is billed again later, and then with what came late as well.
        expected = min(max(of_closed - voided[key], billed[key]), of_closed + late)
        check.equal(expected, billed[key], "usage of {} in {} of {}, as it was invoiced".format(*key))
    return check


def _posted_by_invoice(connection: sa.Connection) -> dict[str, int]:
    """What each invoice added to what its tenant owes, by its entries; payments are no part of it."""
    entries, accounts = tables.ledger_entries.c, tables.ledger_accounts.c
    sums: dict[str, int] = defaultdict(int)
    for sign, column in ((1, entries.debit_id), (-1, entries.credit_id)):
        query = (
            sa.select(entries.invoice_id, sa.func.sum(entries.amount_nano))
            .join(tables.ledger_accounts, accounts.id == column)
            .where(accounts.code == "receivable", entries.invoice_id.is_not(None), entries.kind.not_in(_SETTLED))
            .group_by(entries.invoice_id)
        )
        for invoice_id, nano in connection.execute(query):
            sums[invoice_id] += sign * int(nano)
    return sums


def _usage(connection: sa.Connection) -> dict[tuple[str, str, str], tuple[int, int]]:
    """By tenant, currency and month of the service: what was posted to closed months, and what to open ones."""
    entries, closed = tables.ledger_entries.c, tables.closed_periods.c
    last = sa.select(closed.tenant_id, sa.func.max(closed.period).label("period")).group_by(closed.tenant_id).subquery()
    is_closed = entries.period <= last.c.period
    of_closed, late = (
        sa.func.sum(sa.case((which, entries.amount_nano), else_=0)) for which in (is_closed, sa.not_(is_closed))
    )
    query = (
        sa.select(entries.tenant_id, entries.currency, entries.service_period, of_closed, late)
        .join(last, last.c.tenant_id == entries.tenant_id)
        .where(entries.kind == USAGE)
        .group_by(entries.tenant_id, entries.currency, entries.service_period)
    )
    return {(row[0], row[1], row[2]): (int(row[3]), int(row[4])) for row in connection.execute(query)}


def _closed(connection: sa.Connection) -> Check:
    check = Check("I9", "nothing was posted to a month after it was closed")
    entries, closed = tables.ledger_entries.c, tables.closed_periods.c
    query = (
        sa.select(entries.id, entries.tenant_id, entries.period, entries.amount_nano)
        .join(tables.closed_periods, closed.tenant_id == entries.tenant_id)
        .where(entries.period <= closed.period, entries.id > closed.last_entry_id)
    )
    for entry_id, tenant_id, period, nano in connection.execute(query):
        check.differ(f"entry {entry_id} of {tenant_id} came to {period} after it was closed", nano)
    check.compared = connection.scalar(sa.select(sa.func.count()).select_from(tables.closed_periods)) or 0
    return check
