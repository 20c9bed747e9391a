"""The lines of a document as comma-separated values, for a spreadsheet or a bookkeeping program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from airserve.metering.currencies import minor_text
from airserve.metering.invoices.document import Document
from airserve.metering.money import amount_text

COLUMNS = (
    "number", "tenant", "period", "service_period", "kind", "project", "model", "unit", "quantity", "description",
    "amount", "exact_amount", "currency",
)  # fmt: skip


def csv_text(documents: Iterable[Document]) -> str:
    """One row for each line, then tax and total; `amount` is what is paid, `exact_amount` before rounding."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for document in documents:
        whose = {
            "number": document.number, "tenant": _no_formula(document.tenant), "period": document.period,
            "currency": document.currency,
        }  # fmt: skip
        for line in document.lines:
            writer.writerow(
                {
                    **whose,
                    "service_period": line.service_period,
                    "kind": line.kind,
                    "project": _no_formula(line.project),
                    "model": _no_formula(line.model),
                    "unit": line.unit,
                    "quantity": line.quantity,
                    "description": _no_formula(line.description),
                    "amount": minor_text(line.amount_minor, document.currency),
                    "exact_amount": amount_text(line.amount_nano),
                }
            )
        for kind, minor in (("tax", document.tax_minor), ("total", document.total_minor)):
            writer.writerow({**whose, "kind": kind, "amount": minor_text(minor, document.currency)})
    return text.getvalue()


def _no_formula(text: str) -> str:
    """A text that a spreadsheet does not take for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
