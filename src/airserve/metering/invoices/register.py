"""The register of what was issued: find, list, read, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from airserve.core.errors import ConflictError, NotFoundError
from airserve.metering.invoices.document import INVOICE, Document, read_document
from airserve.metering.rating import Line, LineKind
from airserve.storage import tables

_COLUMNS = (
    "id", "kind", "series", "number", "tenant_id", "period", "currency", "net_minor", "tax_minor", "total_minor",
    "credits", "sha256", "issued_ns",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Issued:
    """An invoice or credit note in the register. `state` is issued, paid or void; amounts in minor units."""

    id: str
    kind: str
    series: str
    serial: int
    tenant_id: str
    period: str
    currency: str
    net_minor: int
    tax_minor: int
    total_minor: int
    credits: str | None
    sha256: str
    issued_ns: int
    state: str

    @property
    def number(self) -> str:
        """As it is printed: `INV-2026-0001`."""
        return number_text(self.series, self.serial)


def number_text(series: str, serial: int) -> str:
    """The printed number of an invoice or credit note."""
    return f"{series}-{serial:04d}"


def issued(connection: sa.Connection, *, tenant_id: str | None = None, period: str | None = None) -> list[Issued]:
    """All that was issued, or that of one tenant or month, in the order of issue."""
    columns = tables.invoices.c
    wanted = [] if tenant_id is None else [columns.tenant_id == tenant_id]
    if period is not None:
        wanted.append(columns.period == period)
    return _read(connection, *wanted)


def find_issued(connection: sa.Connection, number_or_id: str) -> Issued:
    """The invoice or credit note with this number or id. Raises `NotFoundError`."""
    columns = tables.invoices.c
    series, _, serial = number_or_id.rpartition("-")
    same: sa.ColumnElement[bool] = columns.id == number_or_id
    if serial.isascii() and serial.isdigit() and len(serial) <= 18:
        same = sa.or_(same, sa.and_(columns.series == series, columns.number == int(serial)))
    found = _read(connection, same)
    if not found:
        raise NotFoundError(f"there is no invoice '{number_or_id[:40]}'; see airserve invoices list")
    return found[0]


def find_open(connection: sa.Connection, number_or_id: str) -> Issued:
    """An invoice that is neither paid nor void. Raises `ConflictError` for anything else."""
    found = find_issued(connection, number_or_id)
    if found.kind != INVOICE:
        raise ConflictError(f"{found.number} is a credit note; it is neither paid nor void, and credits nothing")
    if found.state != "issued":
        raise ConflictError(f"invoice {found.number} is {found.state} already")
    return found


def document_of(connection: sa.Connection, entry: Issued) -> Document:
    """The whole document, held against its checksum."""
    columns = tables.invoices.c
    text = connection.scalar(sa.select(columns.document).where(columns.id == entry.id))
    return read_document(text or "", entry.sha256)


def billed_lines(connection: sa.Connection, tenant_id: str, service_period: str, currency: str) -> list[Line]:
    """The lines of all invoices of the tenant, but void ones, for what was used in a month."""
    lines, invoices, changes = tables.invoice_lines.c, tables.invoices, tables.invoice_changes
    query = (
        sa.select(
            lines.kind, lines.amount_nano, lines.project_id, lines.model, lines.unit, lines.price_id, lines.quantity
        )
        .join_from(tables.invoice_lines, invoices, invoices.c.id == lines.invoice_id)
        .outerjoin(changes, changes.c.invoice_id == invoices.c.id)
        .where(
            invoices.c.tenant_id == tenant_id,
            invoices.c.currency == currency,
            invoices.c.kind == INVOICE,
            lines.service_period == service_period,
            lines.kind != LineKind.MINOR_ROUNDING.value,
            sa.func.coalesce(changes.c.state, "") != "void",
        )
        .order_by(invoices.c.issued_ns, lines.invoice_id, lines.line)
    )
    return [Line(LineKind(row[0]), *row[1:]) for row in connection.execute(query)]


def _read(connection: sa.Connection, *wanted: sa.ColumnElement[bool]) -> list[Issued]:
    invoices, changes = tables.invoices, tables.invoice_changes
    query = (
        sa.select(*(invoices.c[name] for name in _COLUMNS), sa.func.coalesce(changes.c.state, "issued"))
        .join_from(invoices, changes, changes.c.invoice_id == invoices.c.id, isouter=True)
        .where(*wanted)
        .order_by(invoices.c.issued_ns, invoices.c.series, invoices.c.number)
    )
    return [Issued(*tuple(row)) for row in connection.execute(query)]
