"""The verifier that shares no code with us: sound books fit, and every random tampering with an export is found."""

from __future__ import annotations

import json
import random
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airserve.metering.audit.export import export_books
from airserve.metering.event import Outcome, UsageEvent
from airserve.storage import Database
from tests.metering.books import keep_books

EXAMPLE = Path(__file__).parents[2] / "examples" / "verify_usage.py"
TAMPERINGS = 300

# What money depends on. Other columns (notes, times of posting) are protected by the published digest.
COLUMNS = {
    "usage_events": (
        "id", "tenant_id", "key_id", "model", "version", "price_id", "outcome", "rows", "bytes_in", "bytes_out",
        "compute_ns", "amount_nano", "currency", "admitted_ns", "project_id", "epoch", "lsn",
    ),
    "ledger_entries": (
        "id", "debit_id", "credit_id", "amount_nano", "currency", "kind", "period", "event_id", "reverses",
    ),
    "ledger_balances": ("account_id", "period", "debits_nano", "credits_nano"),
    "journal_marks": ("epoch", "lsn"),
    "prices": ("id", "per_call_nano", "per_compute_second_nano"),
}  # fmt: skip


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books")
    database = Database.open(folder / "state")

    def make_event(**changes: Any) -> UsageEvent:
        base: dict[str, Any] = {"key_id": "k", "model": "digits", "version": 1, "outcome": Outcome.OK, "rows": 1}
        base |= {"tenant_id": "ten_a", "bytes_in": 256, "bytes_out": 40, "currency": "EUR"}
        return UsageEvent(**(base | changes))

    keep_books(database, folder / "journal", make_event)
    export_books(database, folder / "journal", folder / "export")
    database.close()
    return folder / "export"


@pytest.fixture(scope="module")
def problems() -> Callable[[Path], list[str]]:
    found: Callable[[Path], list[str]] = runpy.run_path(str(EXAMPLE))["problems"]
    return found


def test_sound_books_fit_and_the_digest_that_was_published_is_that_of_the_export(books: Path) -> None:
    command = [sys.executable, "-I", EXAMPLE, books]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "all of it fits\n"), done.stderr
    done = subprocess.run([*command, "--digest", "0" * 64], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "SHA256SUMS is not what was published\n1 problems\n")


def changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return value + chance.choice([-1, 1, 7, 10**6])
    if value is None:
        return 1
    return {"2026-01": "2026-02", "2026-02": "2026-01"}.get(value, value + "x")


def tamper(folder: Path, chance: random.Random) -> str:
    """Change one thing, with the checksums made anew; what it was."""
    if chance.random() < 0.25:
        path = chance.choice([each for each in sorted((folder / "journal").iterdir()) if each.stat().st_size])
        data = bytearray(path.read_bytes())
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        return f"byte {at} of {path.name}"
    table = chance.choice(sorted(COLUMNS))
    path = folder / f"{table}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    number = chance.randrange(len(rows))
    what = chance.choice(["change", "change", "change", "remove", "repeat"])
    name = chance.choice(COLUMNS[table])
    if what == "remove":
        del rows[number]
    elif what == "repeat":
        rows.append(rows[number])
    else:
        rows[number][name] = changed(rows[number][name], chance)
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    return f"{what} {name} of row {number} of {table}"


def test_every_random_tampering_is_found(books: Path, problems: Callable[[Path], list[str]]) -> None:
    assert problems(books) == []
    before = {path: path.read_bytes() for path in books.rglob("*") if path.is_file()}
    for seed in range(TAMPERINGS):
        what = tamper(books, random.Random(seed))
        try:
            assert problems(books), f"seed {seed}: nobody noticed this: {what}"
        finally:
            for path, data in before.items():
                if path.read_bytes() != data:
                    path.write_bytes(data)
    assert problems(books) == []
