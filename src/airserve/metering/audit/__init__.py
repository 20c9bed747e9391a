"""The audit: every amount again from the raw journals, held against the ledger, its balances and the invoices."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from airserve.core.errors import DamagedLogError
from airserve.metering.audit.books import audit_books
from airserve.metering.audit.check import Check
from airserve.metering.audit.events import audit_events
from airserve.metering.audit.holds import audit_holds
from airserve.storage.audit_log import follow_chain, rows
from airserve.storage.database import Database

__all__ = ["Check", "audit"]


def audit(database: Database, journal_folder: Path) -> list[Check]:
    """Every check, over one state of the database; a running service goes on. Differences are in the checks.

    What the journals hold beyond what was folded is no difference: it is not in the ledger yet.
    """
    with database.read() as connection:
        checks, charged = audit_events(connection, journal_folder)
        checks += audit_books(connection, charged)
        checks += audit_holds(connection)
        checks.append(_log(connection))
    return sorted(checks, key=lambda check: int(check.number[1:]))


def _log(connection: sa.Connection) -> Check:
    check = Check("I11", "the log of who did what is unbroken")
    try:
        for _ in follow_chain(rows(connection)):
            check.compared += 1
    except DamagedLogError as error:
        check.differ(error.message)
    return check
