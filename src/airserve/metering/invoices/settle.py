"""What becomes of an issued invoice: it is paid, or void, or credited. The document itself never changes."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.metering.currencies import minor_text, nano_per_minor, tax_minor
from airserve.metering.invoices.document import CREDIT_NOTE, INVOICE, Document, DocumentLine
from airserve.metering.invoices.issue import (
    TAX_KIND,
    day_of,
    next_serial,
    post_amount,
    posting_period,
    store,
    summary_of,
)
from airserve.metering.invoices.register import Issued, document_of, find_issued, find_open, number_text
from airserve.metering.postings import BANK, REVENUE, TAX, reverse
from airserve.storage import Database, tables
from airserve.storage.audit_log import record
from airserve.storage.outbox import announce

SERIES = "CN"
PAYMENT_KIND = "payment"
CREDIT_KIND = "credit_note"


def pay(database: Database, number: str, *, now_ns: int, note: str = "", actor: str | None = None) -> Issued:
    """Record that an issued invoice was paid in full. Raises `ConflictError` where it is paid or void already."""
    with database.write(announce=False) as connection:
        invoice = find_open(connection, number)
        document = document_of(connection, invoice)
        owed = invoice.total_minor - _credited_minor(connection, invoice.id, "total_minor")
        nano = -owed * nano_per_minor(invoice.currency)
        period = posting_period(connection, invoice.tenant_id, now_ns)
        post_amount(
            connection, document, nano, BANK, PAYMENT_KIND, period=period,
            service_period=invoice.period, event_id=f"{invoice.number}/payment", now_ns=now_ns, note=note,
        )  # fmt: skip
        crash_point("invoices.amid_pay")
        _change(connection, document, "paid", now_ns, note, actor)
        return find_issued(connection, invoice.id)


def void(database: Database, number: str, *, now_ns: int, reason: str, actor: str | None = None) -> Issued:
    """Make an issued invoice void: it keeps its number, nothing is owed for it, and its usage may be invoiced again.

    What it posted (discounts, tax, minimum, rounding) is reversed; what calls were charged stays charged, and is on the
    next invoice that is issued. Raises `ConflictError` for one that is paid, or credited by a credit note.
    """
    with database.write(announce=False) as connection:
        invoice = find_open(connection, number)
        if _credited_minor(connection, invoice.id, "total_minor"):
            raise ConflictError(f"invoice {invoice.number} has a credit note; credit what is left of it instead")
        document = document_of(connection, invoice)
        entries = tables.ledger_entries.c
        of_invoice = sa.select(entries.id).where(entries.invoice_id == invoice.id).order_by(entries.id)
        period = posting_period(connection, invoice.tenant_id, now_ns)
        for entry_id in connection.scalars(of_invoice).all():
            reverse(connection, entry_id, period=period, now_ns=now_ns, note=f"{invoice.number} is void")
            crash_point("invoices.amid_void")
        _change(connection, document, "void", now_ns, reason, actor)
        return find_issued(connection, invoice.id)


def credit(
    database: Database,
    number: str,
    *,
    now_ns: int,
    reason: str,
    net_minor: int | None = None,
    actor: str | None = None,
) -> Document:
    """Issue a credit note for an invoice: of all that is left of it, or of `net_minor` before tax.

    It has a number in a series of its own. Usage stays billed: what is credited does not appear on a later invoice.
    Raises `InvalidInputError` for more than is left, `ConflictError` for a void invoice.
    """
    with database.write(announce=False) as connection:
        invoice = find_issued(connection, number)
        if invoice.kind != INVOICE or invoice.state == "void":
            raise ConflictError(f"{invoice.number} is {'void' if invoice.kind == INVOICE else 'a credit note'}")
        document = document_of(connection, invoice)
        left_net = invoice.net_minor - _credited_minor(connection, invoice.id, "net_minor")
        left_tax = invoice.tax_minor - _credited_minor(connection, invoice.id, "tax_minor")
        wanted = left_net if net_minor is None else net_minor
        if not 0 < wanted <= left_net:
            raise InvalidInputError(
                f"{minor_text(left_net, invoice.currency)} {invoice.currency} before tax are left of invoice "
                f"{invoice.number}; credit more than 0 and at most that"
            )
        tax = left_tax if wanted == left_net else min(left_tax, tax_minor(wanted, document.customer.tax_ppm))
        note = _credit_note(connection, document, wanted, tax, reason, now_ns)
        record(
            connection, actor=actor, action="credit_note.issue", object_id=note.number, after=summary_of(note),
            now_ns=now_ns, tenant_id=note.tenant_id,
        )  # fmt: skip
        announce(
            connection, "credit_note.issued", {**summary_of(note), "credits": invoice.number}, key=note.number,
            now_ns=now_ns, tenant_id=note.tenant_id,
        )  # fmt: skip
    return note


def _credit_note(
    connection: sa.Connection, invoice: Document, net: int, tax: int, reason: str, now_ns: int
) -> Document:
    day = day_of(now_ns)
    series = f"{SERIES}-{day.year}"
    serial = next_serial(connection, series)
    number = number_text(series, serial)
    scale = nano_per_minor(invoice.currency)
    lines: tuple[DocumentLine, ...] = (
        DocumentLine(CREDIT_KIND, f"Credit for invoice {invoice.number}", invoice.period, -net * scale, -net),
    )
    if net == invoice.net_minor:
        lines = tuple(
            msgspec.structs.replace(line, amount_nano=-line.amount_nano, amount_minor=-line.amount_minor)
            for line in invoice.lines
        )
    note = msgspec.structs.replace(
        invoice, kind=CREDIT_NOTE, id=number, number=number, lines=lines, net_minor=-net, tax_minor=-tax,
        total_minor=-net - tax, issued_on=str(day), issued_ns=now_ns, due_on="", credits=invoice.id,
        credits_number=invoice.number, reason=reason,
    )  # fmt: skip
    store(connection, note, series, serial)
    crash_point("invoices.amid_credit")
    period = posting_period(connection, invoice.tenant_id, now_ns)
    for nano, against, kind in ((-net * scale, REVENUE, CREDIT_KIND), (-tax * scale, TAX, TAX_KIND)):
        post_amount(
            connection, note, nano, against, kind, period=period, service_period=invoice.period,
            event_id=f"{number}/{kind}", now_ns=now_ns, note=reason,
        )  # fmt: skip
    return note


def _credited_minor(connection: sa.Connection, invoice_id: str, column: str) -> int:
    """What credit notes took off an invoice already, as a positive number."""
    invoices = tables.invoices.c
    query = sa.select(sa.func.sum(invoices[column])).where(invoices.credits == invoice_id)
    return -int(connection.scalar(query) or 0)


def _change(
    connection: sa.Connection, document: Document, state: str, now_ns: int, note: str, actor: str | None
) -> None:
    connection.execute(
        sa.insert(tables.invoice_changes).values(invoice_id=document.id, state=state, at_ns=now_ns, note=note)
    )
    after = {**summary_of(document), "state": state, "note": note}
    record(
        connection, actor=actor, action=f"invoice.{state}", object_id=document.number, before={"state": "issued"},
        after={"state": state, "note": note}, now_ns=now_ns, tenant_id=document.tenant_id,
    )  # fmt: skip
    announce(connection, f"invoice.{state}", after, key=document.number, now_ns=now_ns, tenant_id=document.tenant_id)
