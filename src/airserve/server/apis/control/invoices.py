"""Invoices and credit notes of a tenant, as JSON, CSV or PDF."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter, Response

from airserve.accounts.roles import Action
from airserve.core.errors import NotFoundError
from airserve.metering.invoices.pdf import pdf
from airserve.metering.invoices.register import document_of, find_issued, issued
from airserve.metering.invoices.table import csv_text
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/invoices", tags=["invoices"])


@router.get("")
def invoices(asked: Asked, tenant: str, period: str | None = None) -> Response:
    """Everything that was issued to the tenant, or of one month such as 2026-01."""
    found = asked.tenant(tenant, Action.INVOICES)
    with asked.database.read() as connection:
        return reply(
            [{"number": each.number, **asdict(each)} for each in issued(connection, tenant_id=found.id, period=period)]
        )


@router.get("/{number}")
def invoice(asked: Asked, tenant: str, number: str, format: Literal["json", "csv", "pdf"] = "json") -> Response:
    """One invoice or credit note."""
    found = asked.tenant(tenant, Action.INVOICES)
    with asked.database.read() as connection:
        entry = find_issued(connection, number)
        if entry.tenant_id != found.id:
            raise NotFoundError(f"there is no invoice '{number[:40]}'")
        document = document_of(connection, entry)
    if format == "pdf":
        return _file(pdf(document, state=entry.state), "application/pdf", f"{entry.number}.pdf")
    if format == "csv":
        return _file(csv_text([document]).encode(), "text/csv; charset=utf-8", f"{entry.number}.csv")
    return reply(document)


def _file(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
