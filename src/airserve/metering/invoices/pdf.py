"""An invoice or credit note on A4, by fpdf2. The same document gives the same bytes.

The embedded fonts are DejaVu Sans (`fonts/LICENSE`), cut down to the Latin, Greek and Cyrillic scripts; `invoice_font`
in the settings names a font for others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from airserve.core.errors import AirserveError, InvalidInputError
from airserve.metering.currencies import minor_text
from airserve.metering.invoices.document import INVOICE, Document, DocumentLine
from airserve.metering.money import amount_text
from airserve.metering.rating import LineKind

if TYPE_CHECKING:
    from fpdf import FPDF

_FONTS = Path(__file__).parent / "fonts"
_FAMILY = "text"
_MARGIN, _WIDTH = 18.0, 174.0
_COLUMNS = (82, 31, 35, 26)
_GREY, _DARK, _RULE = (110, 110, 110), (25, 25, 25), (200, 200, 200)
_INVISIBLE = (LineKind.CALL_ROUNDING.value, LineKind.MINOR_ROUNDING.value)


def pdf(document: Document, *, state: str = "", font: Path | None = None) -> bytes:
    """The document as PDF. `state` paid or void is printed beside the title; a draft says that it is one.

    Raises `AirserveError` naming the extra where fpdf2 is not installed, `InvalidInputError` for a font that is none.
    """
    page = _page(document, font)
    _head(page, document, state)
    _parties(page, document)
    _lines(page, document)
    _totals(page, document)
    return bytes(page.output())


def visible_lines(document: Document) -> list[DocumentLine]:
    """The lines that are printed: roundings of less than the smallest coin are not."""
    return [line for line in document.lines if line.amount_minor or line.kind not in _INVISIBLE]


def _page(document: Document, font: Path | None) -> FPDF:
    try:
        from fpdf import FPDF
    except ImportError:
        raise AirserveError("PDF needs a package that is not installed: pip install 'airserve[invoices]'") from None

    class Page(FPDF):
        def footer(self) -> None:
            self.set_y(-14)
            self.set_font(_FAMILY, size=7.5)
            self.set_text_color(*_GREY)
            parts = [document.seller.name, document.seller.tax_id, document.seller.email, document.number]
            self.cell(_WIDTH - 30, 5, "  ·  ".join(part for part in parts if part))
            self.cell(30, 5, f"{self.page_no()} / {{nb}}", align="R")

    page = Page(format="A4")
    issued = dt.datetime.fromtimestamp(document.issued_ns // 1_000_000_000, dt.UTC)
    page.set_creation_date(issued)
    page.set_title(f"{_title(document)} {document.number}".strip())
    page.set_author(document.seller.name)
    page.set_lang("en")
    page.set_margin(_MARGIN)
    page.set_auto_page_break(True, margin=22)
    try:
        page.add_font(_FAMILY, fname=font or _FONTS / "DejaVuSans.ttf")
        page.add_font(_FAMILY, "B", fname=font or _FONTS / "DejaVuSans-Bold.ttf")
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"{font} cannot be the font of invoices: {error}") from None
    page.add_page()
    return page


def _title(document: Document) -> str:
    return "Invoice" if document.kind == INVOICE else "Credit note"


def _head(page: FPDF, document: Document, state: str) -> None:
    _write(page, 20, _DARK, bold=True)
    shown = {"paid": "  –  paid", "void": "  –  void"}.get(state, "" if document.number else "  –  draft")
    page.cell(_WIDTH, 10, _title(document) + shown, new_x="LMARGIN", new_y="NEXT")
    page.ln(2)
    facts = [
        ("Number", document.number or "none yet"),
        ("Date", document.issued_on),
        ("Due", document.due_on),
        ("Period", f"{document.period_start} – {document.period_end}"),
        ("For invoice", document.credits_number),
        ("Reason", document.reason),
    ]
    for name, value in facts:
        if value:
            _write(page, 9, _GREY)
            page.cell(26, 5, name)
            _write(page, 9, _DARK)
            page.multi_cell(_WIDTH - 26, 5, value, new_x="LMARGIN", new_y="NEXT")
    page.ln(6)


def _parties(page: FPDF, document: Document) -> None:
    seller, customer = document.seller, document.customer
    columns = (
        ("From", seller.name, (seller.address, seller.email, seller.tax_id and f"Tax id {seller.tax_id}")),
        (
            "To",
            customer.legal_name or document.tenant,
            (customer.address, customer.email, customer.tax_id and f"Tax id {customer.tax_id}"),
        ),
    )
    top, bottom, width = page.get_y(), page.get_y(), _WIDTH / 2 - 4
    for place, (label, name, rest) in enumerate(columns):
        left = _MARGIN + place * (_WIDTH / 2)
        page.set_y(top)
        for text, size, colour, bold in (
            (label, 8, _GREY, False),
            (name, 10.5, _DARK, True),
            ("\n".join(part for part in rest if part), 9, _DARK, False),
        ):
            if text:
                page.set_x(left)
                _write(page, size, colour, bold=bold)
                page.multi_cell(width, 5, text, align="L", new_x="LMARGIN", new_y="NEXT")
        bottom = max(bottom, page.get_y())
    page.set_y(bottom + 8)


def _lines(page: FPDF, document: Document) -> None:
    from fpdf.enums import TableBordersLayout
    from fpdf.fonts import FontFace

    _write(page, 8.5, _DARK)
    page.set_draw_color(*_RULE)
    heading = FontFace(emphasis="BOLD", color=_DARK)
    group = FontFace(color=_GREY, size_pt=8)
    with page.table(
        width=_WIDTH,
        col_widths=_COLUMNS,
        text_align=("LEFT", "RIGHT", "RIGHT", "RIGHT"),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=heading,
        line_height=5.2,
        padding=(0.7, 0.5),
        repeat_headings=1,
    ) as table:
        table.row(("Description", "Quantity", "Unit price", f"Amount {document.currency}"))
        for title, lines in _groups(document):
            if title:
                row = table.row(style=group)
                row.cell(title, colspan=4)
            for line in lines:
                table.row(
                    (
                        line.description,
                        _thousands(line.quantity),
                        _unit_price(line),
                        _thousands(minor_text(line.amount_minor, document.currency)),
                    )
                )
    page.ln(4)


def _groups(document: Document) -> Iterator[tuple[str, list[DocumentLine]]]:
    """Lines under the project that they are of, and under the month where that is an earlier one."""

    def key(line: DocumentLine) -> tuple[str, str]:
        return line.service_period, line.project

    several = any(line.project for line in document.lines)
    for (service, project), lines in groupby(visible_lines(document), key):
        late = f"used in {service}" if service != document.period else ""
        of_project = f"Project {project}" if project else "Whole account" if several else ""
        yield ", ".join(part for part in (of_project, late) if part), list(lines)


def _totals(page: FPDF, document: Document) -> None:
    details, currency = document.customer, document.currency
    rate = amount_text(details.tax_ppm * 100_000).removesuffix(".00")
    to_pay = f"Please pay by {document.due_on}, with the number {document.number}." if document.due_on else ""
    notes = [text for text in (details.tax_note, to_pay, document.seller.bank if to_pay else "") if text]
    if page.will_page_break(26 + 5 * len(notes)):
        page.add_page()
    rows = [
        ("Net", document.net_minor, False),
        (f"{details.tax_name} {rate} %", document.tax_minor, False),
        ("Total", document.total_minor, True),
    ]
    for name, minor, bold in rows:
        _write(page, 11 if bold else 9.5, _DARK, bold=bold)
        page.set_x(_MARGIN + 90)
        page.cell(44, 7 if bold else 6, name, border="T" if bold else 0)
        amount = f"{_thousands(minor_text(minor, currency))} {currency}"
        page.cell(40, 7 if bold else 6, amount, align="R", border="T" if bold else 0, new_x="LMARGIN", new_y="NEXT")
    page.ln(6)
    for text in notes:
        _write(page, 9, _DARK)
        page.multi_cell(_WIDTH, 5, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _unit_price(line: DocumentLine) -> str:
    if not line.price_nano:
        return ""
    price = amount_text(line.price_nano)
    return f"{price}\u00a0/\u00a0M" if line.price_per == 1_000_000 else price


def _thousands(text: str) -> str:
    """Digits in groups of three, by a thin space that does not break."""
    whole, point, rest = text.partition(".")
    digits = f"{abs(int(whole)):,}".replace(",", "\u202f") if whole else ""
    return f"{'−' if text.startswith('-') else ''}{digits}{point}{rest}"


def _write(page: FPDF, size: float, colour: tuple[int, int, int], *, bold: bool = False) -> None:
    page.set_font(_FAMILY, "B" if bold else "", size)
    page.set_text_color(*colour)
