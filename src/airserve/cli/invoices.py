"""`airserve invoices`: from usage to a bill."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, fail, print_json, print_rows
from airserve.cli.state import StateDir, open_database, settings_of

if TYPE_CHECKING:
    from airserve.metering.invoices.details import Seller
    from airserve.metering.invoices.document import Document
    from airserve.metering.invoices.draft import Customer
    from airserve.metering.invoices.register import Issued
    from airserve.storage import Database

Month = Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The billing period, a month in UTC.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant, by name or id.")]
Number = Annotated[str, typer.Argument(help="The number of the invoice, such as INV-2026-0001.")]


class Format(StrEnum):
    """What an export is written as."""

    pdf = "pdf"
    json = "json"
    csv = "csv"


invoices = typer.Typer(
    no_args_is_help=True,
    help="Invoices and credit notes: draft, issue, list, show, export, pay, void, credit, details.",
)


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(invoices, name="invoices")


@invoices.command()
def draft(month: Month, state_dir: StateDir, tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """What the invoices of a month would say now. Example: `airserve invoices draft --month 2026-01`."""
    from airserve.metering.invoices.draft import drafts

    with open_database(state_dir) as database:
        _fold(state_dir, database)
        seller = _seller(state_dir)
        with database.read() as connection:
            found = [each for who in _customers(database, tenant) for each in drafts(connection, who, month, seller)]
    _print_documents(found, as_json, "Drafts", f"nothing to invoice in {month}")


@invoices.command()
def issue(month: Month, state_dir: StateDir, tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Issue the invoices of a month that is over, and close the month.

    Each invoice is issued whole or not at all; who has one of the month already is left out, unless named.

    Example: `airserve invoices issue --month 2026-01`
    """
    from airserve.metering.invoices.issue import issue as issue_one
    from airserve.metering.invoices.register import issued

    found: list[Document] = []
    with open_database(state_dir) as database:
        _fold(state_dir, database)
        seller = _seller(state_dir)
        with database.read() as connection:
            done = {each.tenant_id for each in issued(connection, period=month) if each.state != "void"}
        for who in _customers(database, tenant):
            if tenant is not None or who.id not in done:
                found += issue_one(database, who, month, seller, now_ns=time.time_ns())
    _print_documents(found, as_json, "Issued", f"nothing to invoice in {month}")


@invoices.command("list")
def list_all(
    state_dir: StateDir,
    tenant: OneTenant = None,
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="Only this month.")] = None,
    as_json: AsJson = False,
) -> None:
    """All that was issued, with its state. Example: `airserve invoices list --tenant acme`."""
    from airserve.metering.invoices.register import issued

    with open_database(state_dir) as database:
        names = {each.id: each.name for each in _customers(database, None)}
        tenant_id = None if tenant is None else _customers(database, tenant)[0].id
        with database.read() as connection:
            rows = [_issued_row(each, names) for each in issued(connection, tenant_id=tenant_id, period=month)]
    print_rows(rows, as_json=as_json, title="Invoices", empty="no invoice yet; see airserve invoices issue --help")


@invoices.command()
def show(number: Number, state_dir: StateDir, as_json: AsJson = False) -> None:
    """One invoice or credit note with its lines. Example: `airserve invoices show INV-2026-0001`."""
    document, found = _document(state_dir, number)
    if as_json:
        print_json({"state": found.state, "sha256": found.sha256, "document": document})
        return
    _print_document(document, found.state)


@invoices.command()
def export(
    number: Number,
    state_dir: StateDir,
    format: Annotated[Format, typer.Option("--format", help="pdf, json (canonical: its SHA-256 is kept) or csv.")] = (
        Format.pdf
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; NUMBER.FORMAT here without it.")
    ] = None,
) -> None:
    """Write one as a file. Example: `airserve invoices export INV-2026-0001 --format pdf`."""
    from airserve.metering.invoices.document import canonical
    from airserve.metering.invoices.table import csv_text

    document, found = _document(state_dir, number)
    if format is Format.pdf:
        from airserve.metering.invoices.pdf import pdf

        written = pdf(document, state=found.state, font=settings_of(state_dir).invoice_font)
    else:
        written = (canonical(document) if format is Format.json else csv_text([document])).encode()
    path = output or Path(f"{document.number}.{format.value}")
    try:
        path.write_bytes(written)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}", 3)
    console.print(f"{path}", highlight=False, soft_wrap=True)


@invoices.command()
def pay(
    number: Number,
    state_dir: StateDir,
    note: Annotated[str, typer.Option(help="How, or by which transfer.")] = "",
    as_json: AsJson = False,
) -> None:
    """Record that an invoice was paid. Example: `airserve invoices pay INV-2026-0001 --note "transfer 4711"`."""
    from airserve.metering.invoices.settle import pay as pay_one

    with open_database(state_dir) as database:
        _say(pay_one(database, number, now_ns=time.time_ns(), note=note), as_json)


@invoices.command()
def void(
    number: Number, state_dir: StateDir, reason: Annotated[str, typer.Option(help="Why.")], as_json: AsJson = False
) -> None:
    """Make an unpaid invoice void: its usage can be invoiced again.

    Example: `airserve invoices void INV-2026-0001 --reason "wrong tax"`
    """
    from airserve.metering.invoices.settle import void as void_one

    with open_database(state_dir) as database:
        _say(void_one(database, number, now_ns=time.time_ns(), reason=reason), as_json)


@invoices.command()
def credit(
    number: Number,
    state_dir: StateDir,
    reason: Annotated[str, typer.Option(help="Why; it is printed on the credit note.")],
    amount: Annotated[str | None, typer.Option(help="Net amount such as 12.50; all that is left without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a credit note for an invoice: of a part, or of all that is left.

    Example: `airserve invoices credit INV-2026-0001 --reason "outage" --amount 12.50`
    """
    from airserve.core.errors import InvalidInputError
    from airserve.metering.currencies import minor_of, nano_per_minor
    from airserve.metering.invoices.register import find_issued
    from airserve.metering.invoices.settle import credit as credit_one
    from airserve.metering.money import nano_of

    with open_database(state_dir) as database:
        net_minor = None
        if amount is not None:
            with database.read() as connection:
                currency = find_issued(connection, number).currency
            nano = nano_of(amount)
            if nano % nano_per_minor(currency):
                raise InvalidInputError(f"{amount} {currency} cannot be paid: it has too many decimal places")
            net_minor = minor_of(nano, currency)
        note = credit_one(database, number, now_ns=time.time_ns(), reason=reason, net_minor=net_minor)
    _print_documents([note], as_json, "Issued", "")


@invoices.command()
def details(
    tenant: Annotated[str, typer.Argument(help="The tenant's name or id.")],
    state_dir: StateDir,
    legal_name: Annotated[str | None, typer.Option(help="As it is printed; the tenant's name without it.")] = None,
    address: Annotated[str | None, typer.Option(help=r"Lines are separated by \n.")] = None,
    email: Annotated[str | None, typer.Option(help="Of who pays.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="The customer's.")] = None,
    tax_name: Annotated[str | None, typer.Option(help="Such as VAT or MwSt.")] = None,
    tax_percent: Annotated[str | None, typer.Option(help="Such as 22 or 7.7; at most four decimal places.")] = None,
    tax_note: Annotated[str | None, typer.Option(help="Printed below, such as why no tax is due.")] = None,
    payment_days: Annotated[int | None, typer.Option(help="Days until an invoice is due.")] = None,
    as_json: AsJson = False,
) -> None:
    r"""Show or set what a tenant's invoices say.

    Example: `airserve invoices details acme --tax-percent 22 --address "Trg 1\n1000 Ljubljana"`
    """
    import msgspec

    from airserve.metering.invoices.details import billing_details, change_billing_details

    given: dict[str, Any] = {
        "legal_name": legal_name, "address": address and address.replace("\\n", "\n"), "email": email,
        "tax_id": tax_id, "tax_name": tax_name, "tax_note": tax_note, "payment_days": payment_days,
        "tax_ppm": None if tax_percent is None else _ppm(tax_percent),
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    with open_database(state_dir) as database:
        who = _customers(database, tenant)[0]
        if changes:
            found = change_billing_details(database, who.id, changes, now_ns=time.time_ns())
        else:
            with database.read() as connection:
                found = billing_details(connection, who.id)
    if as_json:
        print_json(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        shown = f"{value / 10_000:g} %" if name == "tax_ppm" else str(value).replace("\n", ", ")
        console.print(f"  {'tax' if name == 'tax_ppm' else name.replace('_', ' '):14} {shown}", highlight=False)


def _ppm(percent: str) -> int:
    from airserve.core.errors import InvalidInputError
    from airserve.metering.money import nano_of

    nano = nano_of(percent)
    if nano % 100_000:
        raise InvalidInputError(f"'{percent}' has more than four decimal places")
    return nano // 100_000


def _fold(state_dir: Path, database: Database) -> None:
    from airserve.metering.ledger import fold
    from airserve.server.installation import journal_folder

    fold(database, journal_folder(settings_of(state_dir)))


def _seller(state_dir: Path) -> Seller:
    import msgspec

    from airserve.core.errors import InvalidInputError
    from airserve.metering.invoices.details import Seller

    try:
        return msgspec.convert(settings_of(state_dir).seller, Seller)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"settings: [seller] has name, address, email, tax_id and bank: {error}") from None


def _customers(database: Database, tenant: str | None) -> list[Customer]:
    from airserve.accounts.tenant import find_tenant
    from airserve.accounts.tenants import list_tenants
    from airserve.metering.invoices.draft import Customer

    if tenant is None:
        return [Customer(each.id, each.name) for each in list_tenants(database)]
    with database.read() as connection:
        found = find_tenant(connection, tenant)
    return [Customer(found.id, found.name)]


def _document(state_dir: Path, number: str) -> tuple[Document, Issued]:
    from airserve.metering.invoices.register import document_of, find_issued

    with open_database(state_dir) as database, database.read() as connection:
        found = find_issued(connection, number)
        return document_of(connection, found), found


def _print_documents(documents: list[Document], as_json: bool, title: str, empty: str) -> None:
    from airserve.metering.currencies import minor_text

    if as_json:
        print_json(documents)
        return
    rows = [
        {
            "number": each.number or "–",
            "tenant": each.tenant,
            "period": each.period,
            "lines": len(each.lines),
            "net": minor_text(each.net_minor, each.currency),
            "tax": minor_text(each.tax_minor, each.currency),
            "total": f"{minor_text(each.total_minor, each.currency)} {each.currency}",
        }
        for each in documents
    ]
    print_rows(rows, as_json=False, title=title, empty=empty)


def _print_document(document: Document, state: str) -> None:
    from airserve.metering.currencies import minor_text
    from airserve.metering.invoices.pdf import visible_lines

    rows = [
        {
            "project": line.project,
            "line": line.description + (f" (of {line.service_period})" * (line.service_period != document.period)),
            "quantity": line.quantity,
            "amount": minor_text(line.amount_minor, document.currency),
        }
        for line in visible_lines(document)
    ]
    title = f"{document.number}  {document.tenant}  {document.period}  {state}"
    print_rows(rows, as_json=False, title=title, empty="no lines")
    for name, minor in (("net", document.net_minor), ("tax", document.tax_minor), ("total", document.total_minor)):
        console.print(f"  {name:6} {minor_text(minor, document.currency):>12} {document.currency}", highlight=False)


def _issued_row(entry: Issued, names: dict[str, str]) -> dict[str, Any]:
    from airserve.metering.currencies import minor_text

    return {
        "number": entry.number,
        "tenant": names.get(entry.tenant_id, entry.tenant_id),
        "period": entry.period,
        "total": minor_text(entry.total_minor, entry.currency),
        "currency": entry.currency,
        "state": entry.state if entry.kind == "invoice" else "credit note",
        "credits": entry.credits,
    }


def _say(entry: Issued, as_json: bool) -> None:
    if as_json:
        print_json({"number": entry.number, "state": entry.state})
    else:
        console.print(f"invoice {entry.number} is {entry.state}", highlight=False)
