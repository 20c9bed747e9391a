"""A month of usage of two tenants, folded, with corrections and an invoice's entries: books that an audit can check."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from airserve.metering.journal import Journal
from airserve.metering.ledger import fold
from airserve.metering.periods import bounds_ns
from airserve.metering.postings import BANK, Entry, close_period, credit, post, reverse
from airserve.metering.prices import amount_nano, set_price
from airserve.storage import Database

PERIOD = "2026-01"
START_NS, END_NS = bounds_ns(PERIOD)


def keep_books(database: Database, folder: Path, make_event: Any, calls: int = 40) -> None:
    """Calls at the ends of the month among them, retries, free ends, two epochs, small segments."""
    price = set_price(database, "digits", per_call_nano=1_000, per_compute_second_nano=7_000_000, now_ns=1)
    stamps = (START_NS, END_NS - 1, END_NS, START_NS + 10**9)
    for epoch in range(2):
        journal = Journal.open(folder, "n", segment_bytes=1_200)
        for number in range(calls // 2):
            compute_ns = 2_000_000_000 * (number + 1)
            event = make_event(
                id=f"{epoch}-{number}",
                tenant_id="ten_a" if number % 3 else "ten_b",
                price_id=price.id,
                compute_ns=compute_ns,
                amount_nano=amount_nano(price, compute_ns, size_bytes=256 + 40),
                admitted_ns=stamps[number % 4],
                project_id="prj",
            )
            journal.append([event, event] if number % 7 == 0 else [event])
        journal.close()
    fold(database, folder)
    now_ns = time.time_ns()
    with database.write() as connection:
        for number in range(3):
            entry = Entry(BANK, credit("ten_a"), 5_000, "EUR", "payment", "ten_a", PERIOD, event_id=f"p-{number}")
            entry_id = post(connection, entry, now_ns=now_ns)
        reverse(connection, entry_id, period="2026-02", now_ns=now_ns)
        close_period(connection, "ten_a", PERIOD, now_ns=now_ns)
    journal = Journal.open(folder, "n")
    late = amount_nano(price, 5, size_bytes=256 + 40)
    journal.append(
        [
            make_event(
                id="late", price_id=price.id, compute_ns=5, amount_nano=late, admitted_ns=START_NS, project_id="prj"
            )
        ]
    )
    journal.close()
    fold(database, folder)
