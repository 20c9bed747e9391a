from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pypdf import PdfReader

from airserve.metering import Journal, fold
from airserve.metering.audit import audit
from airserve.metering.currencies import minor_text
from airserve.metering.invoices.details import Seller
from airserve.metering.invoices.document import Document, canonical, digest
from airserve.metering.invoices.draft import Customer, drafts
from airserve.metering.invoices.issue import issue
from airserve.metering.invoices.pdf import pdf
from airserve.metering.invoices.register import document_of, find_issued
from airserve.storage import Database, tables
from tests.metering.invoices.month import END_NS, NOW_NS, PERIOD, Tenant, amount_of, expected_cents, play, replace_event

SELLER = Seller(
    "Čebela AI d.o.o.", "Slovenska cesta 1\n1000 Ljubljana", "billing@cebela.example", "SI12345678", "IBAN SI56 …"
)

Played = tuple[Database, list[Tenant], Path]


@pytest.fixture
def played(database: Database, tmp_path: Path) -> Played:
    folder = tmp_path / "journal"
    found = play(database, folder)
    fold(database, folder, clock_ns=lambda: NOW_NS)
    return database, found, folder


def issue_all(database: Database, found: list[Tenant], period: str = PERIOD, now_ns: int = NOW_NS) -> list[Document]:
    return [
        document
        for tenant in found
        for document in issue(database, Customer(tenant.id, tenant.name), period, SELLER, now_ns=now_ns)
    ]


def text_of(document: Document) -> str:
    reader = PdfReader(io.BytesIO(pdf(document)))
    return "\n".join(page.extract_text() for page in reader.pages).replace("\u202f", "")


def audited(database: Database, folder: Path) -> list[str]:
    return [detail for check in audit(database, folder) for detail in check.details]


def test_a_month_of_three_tenants_on_three_plans_ends_in_three_pdfs_with_the_right_totals(played: Played) -> None:
    database, found, folder = played
    documents = issue_all(database, found)
    assert [each.number for each in documents] == ["INV-2026-0001", "INV-2026-0002", "INV-2026-0003"]
    for tenant, document in zip(found, documents, strict=True):
        net, tax, total = expected_cents(tenant)
        assert (document.net_minor, document.tax_minor, document.total_minor) == (net, tax, total)
        text = text_of(document)
        currency = tenant.terms.currency
        for label, minor in (("Net", net), (r"\S+ [\d.]+ %", tax), ("Total", total)):
            assert re.search(rf"{label}\s+{re.escape(minor_text(minor, currency))} {currency}", text), text
        for printed in (
            document.number,
            "2026-01-01 – 2026-01-31",
            tenant.details.legal_name,
            SELLER.name,
            "2026-02-01",
        ):
            assert printed in text
        assert all(project in text for project in tenant.projects[1:])
    assert audited(database, folder) == []


def test_the_lines_of_an_invoice_are_what_the_ledger_holds_of_its_period(played: Played) -> None:
    database, found, _ = played
    documents = issue_all(database, found)
    entries, accounts = tables.ledger_entries.c, tables.ledger_accounts.c
    for document in documents:
        sums = {}
        with database.read() as connection:
            for side, column in (("debit", entries.debit_id), ("credit", entries.credit_id)):
                query = (
                    sa.select(sa.func.coalesce(sa.func.sum(entries.amount_nano), 0))
                    .join(tables.ledger_accounts, accounts.id == column)
                    .where(
                        accounts.code == "receivable", entries.tenant_id == document.tenant_id,
                        entries.period == PERIOD, entries.kind != "tax",
                    )
                )  # fmt: skip
                sums[side] = int(connection.scalar(query) or 0)
        owed = sums["debit"] - sums["credit"]
        assert owed == sum(line.amount_nano for line in document.lines) == document.net_minor * 10**7


def test_an_invoice_is_the_same_bit_by_bit_when_it_is_made_again_and_so_is_its_pdf(played: Played) -> None:
    database, found, _ = played
    customer = Customer(found[1].id, found[1].name)
    with database.read() as connection:
        first, again = (canonical(drafts(connection, customer, PERIOD, SELLER)[0]) for _ in range(2))
    assert first == again
    (document,) = issue(database, customer, PERIOD, SELLER, now_ns=NOW_NS)
    assert pdf(document) == pdf(document)
    with database.read() as connection:
        entry = find_issued(connection, document.number)
        assert entry.sha256 == digest(canonical(document))
        assert document_of(connection, entry) == document


def test_calls_that_come_late_are_on_the_next_invoice_with_their_month_and_the_plan_sees_them_as_in_time(
    played: Played,
) -> None:
    database, found, folder = played
    delta = found[1]
    (first,) = issue(database, Customer(delta.id, delta.name), PERIOD, SELLER, now_ns=NOW_NS)
    late = [replace_event(event, id=f"late-{event.id}") for event in delta.events[:400]]
    now = [replace_event(event, id=f"now-{event.id}", admitted_ns=END_NS + 5) for event in delta.events[:300]]
    journal = Journal.open(folder, "node1")
    for events in (late, now):
        journal.append(events)
    journal.close()
    fold(database, folder, clock_ns=lambda: NOW_NS)
    (second,) = issue(database, Customer(delta.id, delta.name), "2026-02", SELLER, now_ns=NOW_NS + 40 * 86_400 * 10**9)
    by_month = {
        month: sum(
            line.amount_nano for line in second.lines if line.service_period == month and line.kind != "minor_rounding"
        )
        for month in (PERIOD, "2026-02")
    }
    january = sum(line.amount_nano for line in first.lines if line.kind != "minor_rounding") + by_month[PERIOD]
    assert round(january / 10**7) == expected_cents(delta, delta.events + late)[0]
    assert round(by_month["2026-02"] / 10**7) == expected_cents(delta, now)[0]
    assert "used in 2026-01" in text_of(second)
    assert audited(database, folder) == []


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_the_plain_reading_rates_single_calls_as_the_meter_does(played: Played) -> None:
    from airserve.metering.monthly_usage import full_amount_nano

    for tenant in played[1]:
        prices = {price.id: price for price in tenant.prices}
        for event in tenant.events[:200]:
            if event.outcome.value in ("ok", "partial"):
                as_row: Callable[..., object] = type(
                    "Row",
                    (),
                    {
                        **{name: getattr(event, name) for name in event.__struct_fields__},
                        "outcome": event.outcome.value,
                    },
                )
                assert full_amount_nano(prices[event.price_id], as_row()) == amount_of(event, prices[event.price_id])
