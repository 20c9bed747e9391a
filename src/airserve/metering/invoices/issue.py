"""Issuing: a draft gets the next number of its series, is stored for good, and posted to the ledger. All or nothing."""

from __future__ import annotations

import datetime as dt

import msgspec
import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.core.errors import ConflictError
from airserve.metering.currencies import minor_text, nano_per_minor
from airserve.metering.invoices.details import Seller
from airserve.metering.invoices.document import INVOICE, Document, DocumentLine, canonical, digest
from airserve.metering.invoices.draft import Customer, drafts, is_over, unbilled_period_before
from airserve.metering.invoices.register import issued, number_text
from airserve.metering.periods import period_of
from airserve.metering.postings import (
    DISCOUNTS,
    REVENUE,
    ROUNDING,
    TAX,
    AccountName,
    Entry,
    close_period,
    closed_through,
    open_period,
    post,
    receivable,
)
from airserve.metering.rating import FROM_USAGE, LineKind
from airserve.storage import Database, tables
from airserve.storage.audit_log import record
from airserve.storage.outbox import announce

SERIES = "INV"
TAX_KIND = "tax"
_AGAINST = {
    LineKind.TIER: DISCOUNTS,
    LineKind.FREE: DISCOUNTS,
    LineKind.DISCOUNT: DISCOUNTS,
    LineKind.COMMITMENT: REVENUE,
    LineKind.MINIMUM: REVENUE,
    LineKind.MINOR_ROUNDING: ROUNDING,
}
_OF_USAGE = {kind.value for kind in FROM_USAGE}


def issue(
    database: Database, customer: Customer, period: str, seller: Seller, *, now_ns: int, actor: str | None = None
) -> list[Document]:
    """Issue the tenant's invoices of a month that is over, one for each currency; none where nothing is to be paid.

    The month is closed with them: what comes late of it goes to the next invoice. Raises `ConflictError` where the
    month is not over, was invoiced already, or an earlier one was not.
    """
    if not is_over(period, now_ns):
        raise ConflictError(f"{period} is not over; look at its draft, and issue the invoice when the month has ended")
    with database.write(announce=False) as connection:
        _let_no_fold_in(connection)
        closed = closed_through(connection, [customer.id])
        earlier = unbilled_period_before(connection, customer.id, period, closed.get(customer.id, ""))
        if earlier is not None:
            raise ConflictError(
                f"'{customer.name}' was charged in {earlier} and has no invoice of it; issue that first"
            )
        there = {
            each.currency: each.number
            for each in issued(connection, tenant_id=customer.id, period=period)
            if each.kind == INVOICE and each.state != "void"
        }
        documents = drafts(connection, customer, period, seller)
        if there and (not documents or any(each.currency in there for each in documents)):
            raise ConflictError(
                f"'{customer.name}' has invoice {', '.join(sorted(there.values()))} of {period} already; "
                "what came late is on the next month's"
            )
        found = [_issue_one(connection, each, open_period(closed, customer.id, period), now_ns) for each in documents]
        crash_point("invoices.before_close")
        close_period(connection, customer.id, period, now_ns=now_ns)
        for document in found:
            _tell(connection, document, now_ns, actor)
        crash_point("invoices.before_issued")
    crash_point("invoices.after_issued")
    return found


def post_amount(
    connection: sa.Connection, document: Document, nano: int, against: AccountName, kind: str, *, period: str,
    service_period: str, event_id: str, now_ns: int, note: str = "",
) -> None:  # fmt: skip
    """Let the tenant owe `nano` more, or less where it is negative, against an account of the house."""
    if not nano:
        return
    owed = receivable(document.tenant_id)
    entry = Entry(
        debit=owed if nano > 0 else against,
        credit=against if nano > 0 else owed,
        amount_nano=abs(nano),
        currency=document.currency,
        kind=kind,
        tenant_id=document.tenant_id,
        period=period,
        service_period=service_period,
        event_id=event_id,
        invoice_id=document.id,
        note=note,
    )
    post(connection, entry, now_ns=now_ns)


def store(connection: sa.Connection, document: Document, series: str, serial: int) -> None:
    """Write a document and its lines to the register, where nothing can change them any more."""
    text = canonical(document)
    connection.execute(
        sa.insert(tables.invoices).values(
            id=document.id,
            kind=document.kind,
            series=series,
            number=serial,
            tenant_id=document.tenant_id,
            period=document.period,
            currency=document.currency,
            net_minor=document.net_minor,
            tax_minor=document.tax_minor,
            total_minor=document.total_minor,
            credits=document.credits,
            document=text,
            sha256=digest(text),
            issued_ns=document.issued_ns,
        )
    )
    crash_point("invoices.after_document")
    rows = [_row(document, number, line) for number, line in enumerate(document.lines, start=1)]
    if rows:
        connection.execute(sa.insert(tables.invoice_lines), rows)


def next_serial(connection: sa.Connection, series: str) -> int:
    """The number after the last of a series. Whoever writes is alone, so there are no holes and no doubles."""
    invoices = tables.invoices.c
    last = connection.scalar(sa.select(sa.func.max(invoices.number)).where(invoices.series == series))
    return int(last or 0) + 1


def day_of(ns: int) -> dt.date:
    """The day in UTC of a moment in nanoseconds."""
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.UTC).date()


def _issue_one(connection: sa.Connection, draft: Document, posted_to: str, now_ns: int) -> Document:
    day = day_of(now_ns)
    series = f"{SERIES}-{day.year}"
    serial = next_serial(connection, series)
    number = number_text(series, serial)
    document = msgspec.structs.replace(
        draft,
        id=number,
        number=number,
        issued_on=str(day),
        issued_ns=now_ns,
        due_on=str(day + dt.timedelta(days=draft.customer.payment_days)),
    )
    store(connection, document, series, serial)
    for place, line in enumerate(document.lines, start=1):
        if line.kind not in _OF_USAGE:
            post_amount(
                connection, document, line.amount_nano, _AGAINST[LineKind(line.kind)], line.kind, period=posted_to,
                service_period=line.service_period, event_id=f"{number}/{place}", now_ns=now_ns,
            )  # fmt: skip
    tax_nano = document.tax_minor * nano_per_minor(document.currency)
    post_amount(
        connection, document, tax_nano, TAX, TAX_KIND, period=posted_to, service_period=document.period,
        event_id=f"{number}/tax", now_ns=now_ns,
    )  # fmt: skip
    return document


def _row(document: Document, number: int, line: DocumentLine) -> dict[str, object]:
    return {
        "invoice_id": document.id,
        "line": number,
        "kind": line.kind,
        "service_period": line.service_period,
        "project_id": line.project_id,
        "model": line.model,
        "unit": line.unit,
        "price_id": line.price_id,
        "quantity": line.quantity_smallest,
        "amount_nano": line.amount_nano,
        "amount_minor": line.amount_minor,
    }


def _tell(connection: sa.Connection, document: Document, now_ns: int, actor: str | None) -> None:
    summary = summary_of(document)
    record(
        connection, actor=actor, action="invoice.issue", object_id=document.number, after=summary, now_ns=now_ns,
        tenant_id=document.tenant_id,
    )  # fmt: skip
    announce(connection, "invoice.issued", summary, key=document.number, now_ns=now_ns, tenant_id=document.tenant_id)


def summary_of(document: Document) -> dict[str, str]:
    """What webhooks and the log of actions say of a document; amounts as decimals."""
    return {
        "number": document.number,
        "kind": document.kind,
        "period": document.period,
        "currency": document.currency,
        "net": minor_text(document.net_minor, document.currency),
        "tax": minor_text(document.tax_minor, document.currency),
        "total": minor_text(document.total_minor, document.currency),
        "issued_on": document.issued_on,
        "due_on": document.due_on,
    }


def _let_no_fold_in(connection: sa.Connection) -> None:
    """Wait for transactions that add usage, and keep others out: the month is added up and closed without a gap."""
    if connection.dialect.name == "postgresql":
        # A fold holds a lock of its own there; this one ends with the transaction.
        connection.execute(sa.text("LOCK TABLE usage_events, ledger_entries IN SHARE ROW EXCLUSIVE MODE"))


def posting_period(connection: sa.Connection, tenant_id: str, now_ns: int) -> str:
    """The month to which what happens to an invoice now is posted: this one, or the first that is open."""
    return open_period(closed_through(connection, [tenant_id]), tenant_id, period_of(now_ns))
