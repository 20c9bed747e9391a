"""Drafts: what a tenant's invoice of a month would say now. Made anew from the ledger each time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.metering.currencies import tax_minor
from airserve.metering.invoices.details import Seller, billing_details
from airserve.metering.invoices.document import FORMAT, INVOICE, Document, DocumentLine
from airserve.metering.invoices.lines import document_line, not_yet_billed, rounded_to_minor
from airserve.metering.invoices.register import billed_lines
from airserve.metering.monthly_terms import terms_of
from airserve.metering.monthly_usage import MonthlyUsage, monthly_usage
from airserve.metering.periods import bounds_ns, period_of
from airserve.metering.postings import USAGE
from airserve.metering.rating import LineKind, MonthlyTerms, rate
from airserve.storage import tables


@dataclass(frozen=True, slots=True)
class Customer:
    """The tenant that an invoice is for."""

    id: str
    name: str


def drafts(connection: sa.Connection, customer: Customer, period: str, seller: Seller) -> list[Document]:
    """The tenant's invoices of the month, one for each currency in which there is something to say.

    On them is what was used in the month, and what came late of months before, with the month in which it was used.
    """
    services = [period, *_late_periods(connection, customer.id, period)]
    usage = {service: monthly_usage(connection, customer.id, service) for service in services}
    currencies: set[str] = set()
    for service in services:
        currencies.update(usage[service])
        _, terms = terms_of(connection, customer.id, service)
        if terms.minimum_nano or terms.commitment_nano:
            currencies.add(terms.currency)
    found = [_draft(connection, customer, usage, currency, seller) for currency in sorted(currencies)]
    return [draft for draft in found if draft.lines]


def _draft(
    connection: sa.Connection,
    customer: Customer,
    usage: Mapping[str, Mapping[str, MonthlyUsage]],
    currency: str,
    seller: Seller,
) -> Document:
    period = next(iter(usage))
    projects = _project_names(connection, customer.id)
    lines = [
        line
        for service, of_service in usage.items()
        for line in _lines_of(
            connection, customer.id, service, currency, of_service.get(currency, MonthlyUsage()), projects
        )
    ]  # fmt: skip
    lines = rounded_to_minor(lines, period, currency)
    details = billing_details(connection, customer.id)
    net = sum(line.amount_minor for line in lines)
    tax = tax_minor(net, details.tax_ppm)
    first, last = days_of(period)
    return Document(
        format=FORMAT,
        kind=INVOICE,
        id="",
        number="",
        tenant_id=customer.id,
        tenant=customer.name,
        plan_id=terms_of(connection, customer.id, period)[0],
        period=period,
        period_start=str(first),
        period_end=str(last),
        currency=currency,
        seller=seller,
        customer=details,
        lines=tuple(lines),
        net_minor=net,
        tax_minor=tax,
        total_minor=net + tax,
    )


def _lines_of(
    connection: sa.Connection,
    tenant_id: str,
    service: str,
    currency: str,
    usage: MonthlyUsage,
    projects: Mapping[str, str],
) -> list[DocumentLine]:
    _, terms = terms_of(connection, tenant_id, service)
    if terms.currency != currency:
        terms = MonthlyTerms(currency)
    rated = rate(usage.used, usage.charged, usage.calls_nano, usage.prices, terms)
    new = not_yet_billed(rated, billed_lines(connection, tenant_id, service, currency))
    lines = [document_line(line, service, currency, usage.prices, projects) for line in new]
    return sorted(lines, key=_place)


def _place(line: DocumentLine) -> tuple[bool, str]:
    """What projects used comes first, by their names; then what is of the whole account. The rest keeps its order."""
    of_projects = line.kind in (LineKind.USAGE.value, LineKind.CHARGED.value)
    return not of_projects, line.project if of_projects else ""


def days_of(period: str) -> tuple[dt.date, dt.date]:
    """The first and the last day of a month."""
    start_ns, end_ns = bounds_ns(period)
    first, after = (dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.UTC).date() for ns in (start_ns, end_ns))
    return first, after - dt.timedelta(days=1)


def unbilled_period_before(connection: sa.Connection, tenant_id: str, period: str, closed_through: str) -> str | None:
    """The first month before `period` that has charges and was not closed: it must be invoiced first."""
    entries = tables.ledger_entries.c
    query = sa.select(sa.func.min(entries.period)).where(
        entries.tenant_id == tenant_id,
        entries.period > closed_through,
        entries.period < period,
        entries.kind == USAGE,
    )
    found: str | None = connection.scalar(query)
    return found


def is_over(period: str, now_ns: int) -> bool:
    """Whether the month has ended."""
    return period_of(now_ns) > period


def _late_periods(connection: sa.Connection, tenant_id: str, period: str) -> list[str]:
    """Earlier months of which something is not billed yet: charged late, or on an invoice that is void."""
    entries, invoices, changes = tables.ledger_entries.c, tables.invoices.c, tables.invoice_changes.c
    late = sa.select(entries.service_period).where(
        entries.tenant_id == tenant_id,
        entries.period == period,
        entries.service_period < period,
        entries.kind == USAGE,
    )
    of_void = (
        sa.select(tables.invoice_lines.c.service_period)
        .join(tables.invoices, invoices.id == tables.invoice_lines.c.invoice_id)
        .join(tables.invoice_changes, changes.invoice_id == invoices.id)
        .where(
            invoices.tenant_id == tenant_id,
            changes.state == "void",
            tables.invoice_lines.c.service_period < period,
        )
    )
    return sorted(set(connection.scalars(late.distinct())) | set(connection.scalars(of_void.distinct())))


def _project_names(connection: sa.Connection, tenant_id: str) -> dict[str, str]:
    projects = tables.projects.c
    query = sa.select(projects.id, projects.name).where(projects.tenant_id == tenant_id)
    return {id_: name for id_, name in connection.execute(query)}  # noqa: C416  # rows are no pairs to the type checker
