"""The document: all that an invoice or a credit note says, as canonical JSON whose SHA-256 is kept beside it."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from airserve.core.errors import AirserveError
from airserve.metering.invoices.details import BillingDetails, Seller

INVOICE = "invoice"
CREDIT_NOTE = "credit_note"
FORMAT = 1
"""Raised when the meaning of a field changes; readers refuse a number that they do not know."""


class DocumentLine(msgspec.Struct, frozen=True):
    """One line. `quantity` is a decimal in `unit`, `amount_nano` exact, `amount_minor` what is paid (cents).

    `service_period` is the month in which the service was given: an earlier one than the invoice's for what came late.
    """

    kind: str
    description: str
    service_period: str
    amount_nano: int
    amount_minor: int
    project_id: str = ""
    project: str = ""
    model: str = ""
    unit: str = ""
    quantity: str = ""
    quantity_smallest: int = 0
    price_id: int = 0
    price_nano: int = 0
    price_per: int = 0
    """The price is for so many of `unit`."""


class Document(msgspec.Struct, frozen=True):
    """An invoice or credit note. Sums in minor units of `currency`; dates like 2026-01-31, in UTC.

    A draft has no number, no id and no dates of issue.
    """

    format: int
    kind: str
    id: str
    number: str
    tenant_id: str
    tenant: str
    plan_id: str | None
    period: str
    period_start: str
    period_end: str
    currency: str
    seller: Seller
    customer: BillingDetails
    lines: tuple[DocumentLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    issued_on: str = ""
    issued_ns: int = 0
    due_on: str = ""
    credits: str | None = None
    credits_number: str = ""
    reason: str = ""


def canonical(document: Document) -> str:
    """The one text of a document: JSON with sorted keys and no spaces."""
    return msgspec.json.encode(document, order="sorted").decode()


def digest(text: str) -> str:
    """The SHA-256 of a canonical text, in hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


def read_document(text: str, expected_sha256: str) -> Document:
    """The document of a stored text. Raises `AirserveError` where the text is not what was issued."""
    if digest(text) != expected_sha256:
        raise AirserveError(
            f"a stored invoice does not match its checksum {expected_sha256[:12]}…: restore the database"
        )
    document = msgspec.json.decode(text, type=Document)
    if document.format != FORMAT:
        raise AirserveError(f"invoice {document.number} has format {document.format}; this version reads {FORMAT}")
    return document
