from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from airserve.accounts import create_tenant
from airserve.cli import usage
from airserve.core.errors import NotFoundError
from airserve.metering import Journal, Outcome, UsageEvent
from airserve.storage import Database

DAY_NS = 86_400 * 1_000_000_000


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state folder with a tenant and a journal that nobody has folded yet, as a running server leaves it."""
    db = Database.open(tmp_path)
    acme = create_tenant(db, "acme", now_ns=1)
    db.close()
    journal = Journal.open(tmp_path / "journal", "n")
    for number, (outcome, currency, day) in enumerate(
        [(Outcome.OK, "EUR", 0), (Outcome.OK, "EUR", 1), (Outcome.OK, "CHF", 1), (Outcome.LATE, "EUR", 1)]
    ):
        amount = 1_500_000 if outcome is Outcome.OK else 0
        admitted_ns = (20_000 + day) * DAY_NS
        event = UsageEvent(
            f"c{number}", acme.id, "key", "digits", 1, 1, outcome, 2, 10, 20, 2_000_000, amount, currency, admitted_ns,
            input_tokens=8, cached_tokens=3, output_tokens=5,
        )  # fmt: skip
        journal.append([event])
    journal.close()
    return tmp_path


def run(state_dir: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    usage.register(app)
    return CliRunner().invoke(app, ["usage", "--state-dir", str(state_dir), *arguments])


def test_the_journal_is_folded_first_and_the_table_has_a_total_per_currency(state_dir: Path) -> None:
    for _ in range(2):
        result = run(state_dir)
        assert result.exit_code == 0
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
        assert lines == [
            ["acme", "digits", "2024-10-04", "1", "1", "0.002", "13", "0.0015 EUR"],
            ["acme", "digits", "2024-10-05", "1", "1", "0.002", "13", "0.0015 CHF"],
            ["acme", "digits", "2024-10-05", "2", "1", "0.002", "13", "0.0015 EUR"],
            ["total", "", "", "1", "1", "0.002", "13", "0.0015 CHF"],
            ["total", "", "", "3", "2", "0.004", "26", "0.003 EUR"],
        ]


def test_json_is_an_array_of_exact_rows_and_csv_holds_the_same(state_dir: Path) -> None:
    rows = json.loads(run(state_dir, "--json", "--tenant", "acme").output)
    assert [row["calls"] for row in rows] == [1, 1, 2]
    assert rows[0] | {"tenant_id": ""} == {
        "tenant_id": "", "tenant": "acme", "model": "digits", "day": "2024-10-04", "calls": 1, "ok": 1, "refused": 0,
        "late": 0, "cancelled": 0, "failed": 0, "partial": 0, "rows": 2, "bytes_in": 10, "bytes_out": 20,
        "compute_ns": 2_000_000, "compute_seconds": "0.002", "input_tokens": 8, "cached_tokens": 3, "output_tokens": 5,
        "amount_nano": 1_500_000, "amount": "0.0015", "currency": "EUR",
    }  # fmt: skip
    as_csv = list(csv.DictReader(run(state_dir, "--csv").output.splitlines()))
    assert as_csv == [{name: str(value) for name, value in row.items()} for row in rows]


def test_days_and_model_narrow_the_report(state_dir: Path) -> None:
    assert len(json.loads(run(state_dir, "--json", "--since", "2024-10-05").output)) == 2
    assert len(json.loads(run(state_dir, "--json", "--until", "2024-10-04").output)) == 1
    assert json.loads(run(state_dir, "--json", "--model", "other").output) == []


def test_an_empty_state_folder_has_no_usage_and_says_so(tmp_path: Path) -> None:
    assert "No usage yet" in run(tmp_path / "new").output
    assert json.loads(run(tmp_path / "new", "--json").output) == []
    assert run(tmp_path / "new", "--csv").output.startswith("tenant_id,tenant,model,day,")


def test_wrong_use_is_told_apart_from_an_unknown_tenant(state_dir: Path) -> None:
    assert run(state_dir, "--since", "yesterday").exit_code == 2
    assert run(state_dir, "--json", "--csv").exit_code == 2
    assert isinstance(run(state_dir, "--tenant", "nobody").exception, NotFoundError)
