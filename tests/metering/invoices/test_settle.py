from __future__ import annotations

import csv
import io
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from airserve.core.errors import AirserveError, ConflictError, InvalidInputError, NotFoundError
from airserve.metering import fold
from airserve.metering.audit import audit
from airserve.metering.invoices.details import BillingDetails, billing_details, set_billing_details
from airserve.metering.invoices.document import Document
from airserve.metering.invoices.draft import Customer, drafts
from airserve.metering.invoices.issue import issue
from airserve.metering.invoices.pdf import pdf
from airserve.metering.invoices.register import document_of, find_issued, issued
from airserve.metering.invoices.settle import credit, pay, void
from airserve.metering.invoices.table import csv_text
from airserve.metering.postings import TAX, balance, receivable
from airserve.storage import Database, tables
from tests.metering.invoices.month import NOW_NS, PERIOD, Tenant, play
from tests.metering.invoices.test_month import SELLER

LATER_NS = NOW_NS + 86_400 * 10**9


@pytest.fixture
def zwoelf(database: Database, tmp_path: Path) -> Tenant:
    found = play(database, tmp_path / "journal", calls=60)
    fold(database, tmp_path / "journal", clock_ns=lambda: NOW_NS)
    return found[0]


def issue_of(database: Database, tenant: Tenant, period: str = PERIOD, now_ns: int = NOW_NS) -> list[Document]:
    return issue(database, Customer(tenant.id, tenant.name), period, SELLER, now_ns=now_ns)


def owed(database: Database, tenant: Tenant) -> int:
    """What the tenant owes, in cents."""
    with database.read() as connection:
        nano = balance(connection, receivable(tenant.id), "EUR")
    assert nano % 10**7 == 0
    return nano // 10**7


def told(database: Database) -> list[str]:
    with database.read() as connection:
        return list(
            connection.scalars(sa.select(tables.webhook_messages.c.type).order_by(tables.webhook_messages.c.created_ns))
        )


def clean(database: Database, tmp_path: Path) -> bool:
    return [detail for check in audit(database, tmp_path / "journal") for detail in check.details] == []


def test_an_issued_invoice_is_owed_and_a_paid_one_is_not(database: Database, zwoelf: Tenant, tmp_path: Path) -> None:
    (invoice,) = issue_of(database, zwoelf)
    assert owed(database, zwoelf) == invoice.total_minor > invoice.net_minor > 0
    assert pay(database, invoice.number, now_ns=LATER_NS, note="transfer 1").state == "paid"
    assert owed(database, zwoelf) == 0
    for again in (pay, lambda *a, **k: void(*a, **k, reason="x")):
        with pytest.raises(ConflictError, match="paid already"):
            again(database, invoice.number, now_ns=LATER_NS)
    assert told(database) == ["invoice.issued", "invoice.paid"]
    assert clean(database, tmp_path)


def test_a_void_invoice_keeps_its_number_and_its_usage_is_invoiced_again(
    database: Database, zwoelf: Tenant, tmp_path: Path
) -> None:
    (first,) = issue_of(database, zwoelf)
    with pytest.raises(ConflictError, match="INV-2026-0001"):
        issue_of(database, zwoelf)
    void(database, first.number, now_ns=LATER_NS, reason="wrong tax")
    with database.write() as connection:
        set_billing_details(connection, zwoelf.id, BillingDetails(tax_ppm=70_000))
    (second,) = issue_of(database, zwoelf, now_ns=LATER_NS)
    assert (second.number, second.net_minor) == ("INV-2026-0002", first.net_minor)
    assert second.tax_minor < first.tax_minor
    assert owed(database, zwoelf) == second.total_minor
    with database.read() as connection:
        assert balance(connection, TAX, "EUR") == -second.tax_minor * 10**7
        assert [each.state for each in issued(connection)] == ["void", "issued"]
    assert b"/Type" in pdf(first, state="void")
    assert clean(database, tmp_path)


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_usage_of_a_void_invoice_is_on_the_next_months_if_it_was_not_issued_again(
    database: Database, zwoelf: Tenant
) -> None:
    (first,) = issue_of(database, zwoelf)
    void(database, first.number, now_ns=LATER_NS, reason="test")
    (second,) = issue_of(database, zwoelf, "2026-02", now_ns=NOW_NS + 40 * 86_400 * 10**9)
    of_january = [line for line in second.lines if line.service_period == PERIOD]
    assert of_january == [line for line in first.lines if line.kind != "minor_rounding"]
    # February has its own minimum.
    assert second.net_minor == first.net_minor + 2_500


def test_credit_notes_have_a_series_of_their_own_and_end_at_what_the_invoice_asked(
    database: Database, zwoelf: Tenant, tmp_path: Path
) -> None:
    (invoice,) = issue_of(database, zwoelf)
    part = credit(database, invoice.number, now_ns=LATER_NS, reason="outage", net_minor=1_000)
    assert (part.number, part.net_minor, part.tax_minor, part.total_minor) == ("CN-2026-0001", -1_000, -190, -1_190)
    assert owed(database, zwoelf) == invoice.total_minor - 1_190
    with pytest.raises(InvalidInputError, match="are left"):
        credit(database, invoice.number, now_ns=LATER_NS, reason="x", net_minor=invoice.net_minor)
    with pytest.raises(ConflictError, match="has a credit note"):
        void(database, invoice.number, now_ns=LATER_NS, reason="x")
    rest = credit(database, invoice.number, now_ns=LATER_NS, reason="goodwill")
    assert rest.total_minor + part.total_minor == -invoice.total_minor
    assert owed(database, zwoelf) == 0
    with pytest.raises(InvalidInputError, match=r"0\.00 EUR"):
        credit(database, invoice.number, now_ns=LATER_NS, reason="x")
    with pytest.raises(ConflictError, match="credit note"):
        pay(database, part.number, now_ns=LATER_NS)
    pay(database, invoice.number, now_ns=LATER_NS)
    assert owed(database, zwoelf) == 0
    with database.read() as connection:
        assert document_of(connection, find_issued(connection, "CN-2026-0001")) == part
        customer = Customer(zwoelf.id, zwoelf.name)
        assert drafts(connection, customer, PERIOD, SELLER) == []
    assert clean(database, tmp_path)


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_whole_credit_note_is_the_invoice_reversed(database: Database, zwoelf: Tenant) -> None:
    (invoice,) = issue_of(database, zwoelf)
    note = credit(database, invoice.number, now_ns=LATER_NS, reason="mistake")
    pairs = zip(invoice.lines, note.lines, strict=True)
    assert all((a.amount_minor, a.amount_nano) == (-b.amount_minor, -b.amount_nano) for a, b in pairs)
    rows = list(csv.DictReader(io.StringIO(csv_text([invoice, note]))))
    assert sum(float(row["amount"]) for row in rows if row["kind"] == "total") == 0
    assert len(rows) == 2 * (len(invoice.lines) + 2)


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_no_text_of_a_customer_is_a_formula_in_a_spreadsheet(database: Database, zwoelf: Tenant) -> None:
    import msgspec

    (invoice,) = issue_of(database, zwoelf)
    for text in ("=1+1", "+1", "-1", "@x", "\t=1"):
        named = msgspec.structs.replace(
            invoice,
            tenant=text,
            lines=(msgspec.structs.replace(invoice.lines[0], description=text, project=text, model=text),),
        )
        cells = [cell for row in csv.reader(io.StringIO(csv_text([named]))) for cell in row]
        assert "'" + text in cells
        assert text not in cells


def test_numbers_have_no_holes_whatever_was_refused_or_undone_in_between(
    database: Database, zwoelf: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airserve.metering.invoices import issue as module

    with monkeypatch.context() as patched:
        patched.setattr(module, "announce", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            issue_of(database, zwoelf)
    with database.read() as connection:
        assert issued(connection) == []
    with pytest.raises(ConflictError, match="not over"):
        issue_of(database, zwoelf, "2026-02")
    numbers = []
    for time_ns in range(NOW_NS, NOW_NS + 3):
        (document,) = issue_of(database, zwoelf, now_ns=time_ns)
        void(database, document.number, now_ns=time_ns, reason="test")
        numbers.append(document.number)
    assert numbers == ["INV-2026-0001", "INV-2026-0002", "INV-2026-0003"]
    (document,) = issue_of(database, zwoelf, now_ns=NOW_NS + 365 * 86_400 * 10**9)
    assert document.number == "INV-2027-0001"


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_month_is_not_invoiced_before_the_one_that_came_before(database: Database, zwoelf: Tenant) -> None:
    with pytest.raises(ConflictError, match="2026-01 and has no invoice"):
        issue_of(database, zwoelf, "2026-02", now_ns=NOW_NS + 40 * 86_400 * 10**9)


def test_nothing_changes_what_was_issued(database: Database, zwoelf: Tenant) -> None:
    (invoice,) = issue_of(database, zwoelf)
    pay(database, invoice.number, now_ns=LATER_NS)
    for table in (tables.invoices, tables.invoice_lines, tables.invoice_changes, tables.webhook_messages):
        for statement in (sa.update(table).values({next(iter(table.columns)).name: "x"}), sa.delete(table)):
            with pytest.raises(sa.exc.SQLAlchemyError, match="append-only"), database.write() as connection:
                connection.execute(statement)


def test_a_document_that_was_changed_behind_our_back_is_not_read(database: Database, zwoelf: Tenant) -> None:
    (invoice,) = issue_of(database, zwoelf)
    with database.write() as connection:
        if database.dialect == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER invoices_no_update")
        else:
            connection.exec_driver_sql("ALTER TABLE invoices DISABLE TRIGGER ALL")
        document = tables.invoices.c.document
        connection.execute(sa.update(tables.invoices).values(document=sa.func.replace(document, "2500", "2501")))
    with database.read() as connection, pytest.raises(AirserveError, match="does not match its checksum"):
        document_of(connection, find_issued(connection, invoice.number))


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_tenant_without_usage_minimum_or_commitment_has_no_invoice(database: Database, zwoelf: Tenant) -> None:
    from airserve.accounts import create_tenant

    other = create_tenant(database, "quiet", now_ns=1)
    assert issue(database, Customer(other.id, "quiet"), PERIOD, SELLER, now_ns=NOW_NS) == []


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_an_invoice_that_there_is_not_is_not_found(database: Database) -> None:
    for number in ("INV-2026-0009", "INV-2026-", "", "x" * 500, "INV-2026-²", "-1"):
        with database.read() as connection, pytest.raises(NotFoundError):
            find_issued(connection, number)


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_details_that_cannot_be_printed_are_refused(database: Database, zwoelf: Tenant) -> None:
    for details in (
        BillingDetails(tax_ppm=-1), BillingDetails(tax_ppm=1_000_001), BillingDetails(payment_days=-1),
        BillingDetails(legal_name="a\x00b"), BillingDetails(address="x" * 401),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError), database.write() as connection:
            set_billing_details(connection, zwoelf.id, details)
    with database.read() as connection:
        assert billing_details(connection, zwoelf.id) == zwoelf.details


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_long_invoice_goes_on_on_the_next_pages_with_its_headings(database: Database, zwoelf: Tenant) -> None:
    import msgspec
    from pypdf import PdfReader

    (invoice,) = issue_of(database, zwoelf)
    long = msgspec.structs.replace(invoice, lines=invoice.lines * 40)
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf(long))).pages]
    assert len(pages) > 3
    assert all("Unit price" in page for page in pages[:-1])
    assert [f"{number} / {len(pages)}" in page for number, page in enumerate(pages, start=1)] == [True] * len(pages)
    assert "Total" in pages[-1]


def test_no_call_slips_between_adding_up_a_month_and_closing_it(
    database: Database, zwoelf: Tenant, tmp_path: Path
) -> None:
    """A fold of another node is amid its transaction when the invoice is issued: that waits, and has its calls."""
    from airserve.metering.usage_postings import Charge, post_usage
    from tests.metering.invoices.month import replace_event

    event = replace_event(zwoelf.events[2], id="other-node", amount_nano=10**9)
    done: list[Document] = []
    thread = threading.Thread(target=lambda: done.extend(issue_of(database, zwoelf)))
    with database.write(announce=False, lock="fold of another node") as connection:
        columns = {name: getattr(event, name) for name in event.__struct_fields__} | {"outcome": "ok"}
        connection.execute(sa.insert(tables.usage_events).values(**columns, node_id="other", epoch=1, lsn=1))
        charge = Charge(event.id, zwoelf.id, event.amount_nano, "EUR", event.price_id, event.admitted_ns)
        post_usage(connection, [charge], now_ns=NOW_NS)
        thread.start()
        thread.join(0.5)
    thread.join(20)
    entries = tables.ledger_entries.c
    with database.read() as connection:
        usage = connection.scalar(
            sa.select(sa.func.sum(entries.amount_nano)).where(
                entries.tenant_id == zwoelf.id, entries.period == PERIOD, entries.kind == "usage"
            )
        )
    billed = sum(line.amount_nano for line in done[0].lines if line.kind in ("usage", "charged", "call_rounding"))
    assert billed == usage
