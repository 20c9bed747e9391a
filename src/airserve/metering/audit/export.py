"""What somebody else needs to check the books: raw journals and the ledger's tables, in files that any program reads.

journal/<segment>.wal     as they were written; archives unpacked
<table>.jsonl             one JSON object a row, of one state of the database
SHA256SUMS                of all of them
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec
import sqlalchemy as sa

from airserve.core.errors import ConflictError
from airserve.metering.audit.raw_journal import epochs, read_segment
from airserve.storage import tables
from airserve.storage.database import Database

TABLES = (
    tables.prices, tables.usage_events, tables.unfinished_calls, tables.journal_marks, tables.ledger_accounts,
    tables.ledger_entries, tables.ledger_balances, tables.closed_periods, tables.invoices, tables.invoice_lines,
    tables.invoice_changes,
)  # fmt: skip


def export_books(database: Database, journal_folder: Path, folder: Path) -> str:
    """Write all into `folder`, which must be new; the SHA-256 of its SHA256SUMS, to be published or kept elsewhere."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConflictError(f"{folder} is there already; export into a new folder") from None
    (folder / "journal").mkdir()
    with database.read() as connection:
        for table in TABLES:
            with (folder / f"{table.name}.jsonl").open("wb") as file:
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)):
                    file.write(msgspec.json.encode(dict(row._mapping)) + b"\n")
        for paths in epochs(journal_folder).values():
            for path in paths:
                target = folder / "journal" / path.name.removesuffix(".zst")
                if path.suffix == ".zst":
                    target.write_bytes(read_segment(path))
                else:
                    shutil.copyfile(path, target)
    sums = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    (folder / "SHA256SUMS").write_text(sums)
    return hashlib.sha256(sums.encode()).hexdigest()
