from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import typer
from pypdf import PdfReader
from standardwebhooks import Webhook
from typer.testing import CliRunner, Result

from airserve.cli import invoices, payments, prices, usage, webhooks
from airserve.cli.output import console
from airserve.core.errors import AirserveError, ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database
from tests.metering.invoices.month import PERIOD, play, tenants
from tests.metering.other_server import other_server
from tests.metering.payments.test_payments import KEY, Ledger

SELLER = '[seller]\nname = "Čebela AI"\naddress = "Slovenska cesta 1\\n1000 Ljubljana"\nbank = "IBAN SI56 1"\n'


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a month in its journal, as a running server leaves it."""
    folder = tmp_path_factory.mktemp("played")
    database = Database.open(folder)
    play(database, folder / "journal", calls=150)
    database.close()
    (folder / "settings.toml").write_text(f"webhooks_allow_private = true\n{SELLER}")
    return folder


@pytest.fixture
def state_dir(played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import shutil

    shutil.copytree(played, tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "state"


@pytest.fixture(autouse=True)
def wide_terminal() -> Iterator[None]:
    """Where nothing is wrapped, whoever runs the tests."""
    console.width = 200
    yield
    console.width = None  # type: ignore[assignment]  # back to the terminal's own


def run(state_dir: Path, *arguments: str) -> Result:
    app = typer.Typer()
    for noun in (invoices, webhooks, payments, prices, usage):
        noun.register(app)
    return CliRunner().invoke(app, [*arguments, "--state-dir", str(state_dir)], env={"COLUMNS": "200"})


def ok(state_dir: Path, *arguments: str) -> str:
    result = run(state_dir, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(state_dir: Path, *arguments: str) -> AirserveError:
    error = run(state_dir, *arguments).exception
    assert isinstance(error, AirserveError)
    return error


def test_from_the_journal_to_a_paid_invoice(state_dir: Path, tmp_path: Path) -> None:
    drafts = json.loads(ok(state_dir, "invoices", "draft", "--month", PERIOD, "--json"))
    assert [each["tenant"] for each in drafts] == ["zwoelf", "delta", "words"]
    assert "delta" in ok(state_dir, "invoices", "draft", "--month", PERIOD)
    made = json.loads(ok(state_dir, "invoices", "issue", "--month", PERIOD, "--json"))
    assert [each["total_minor"] for each in made] == [each["total_minor"] for each in drafts]
    number = made[1]["number"]
    shown = ok(state_dir, "invoices", "show", number)
    assert f"{made[1]['total_minor'] // 100}.{made[1]['total_minor'] % 100:02d} EUR" in shown
    for format in ("pdf", "json", "csv"):
        assert ok(state_dir, "invoices", "export", number, "--format", format).strip() == f"{number}.{format}"
    text = "".join(page.extract_text() for page in PdfReader(tmp_path / f"{number}.pdf").pages)
    assert "Čebela AI" in text
    assert "Δέλτα" in text
    entry = json.loads(ok(state_dir, "invoices", "show", number, "--json"))
    assert sha256((tmp_path / f"{number}.json").read_bytes()).hexdigest() == entry["sha256"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / f"{number}.csv").read_text())))
    assert rows[-1]["kind"] == "total"
    assert ok(state_dir, "invoices", "pay", number, "--note", "transfer 7") == f"invoice {number} is paid\n"
    ok(state_dir, "invoices", "void", made[0]["number"], "--reason", "test")
    note = json.loads(ok(state_dir, "invoices", "credit", number, "--reason", "outage", "--amount", "1.50", "--json"))
    assert note[0]["net_minor"] == -150
    assert {each["number"]: each["state"] for each in json.loads(ok(state_dir, "invoices", "list", "--json"))} == {
        "INV-2026-0001": "void", "INV-2026-0002": "paid", "INV-2026-0003": "issued", "CN-2026-0001": "credit note",
    }  # fmt: skip
    # Only who has no invoice of the month gets one.
    again = json.loads(ok(state_dir, "invoices", "issue", "--month", PERIOD, "--json"))
    assert [(each["tenant"], each["number"]) for each in again] == [("zwoelf", "INV-2026-0004")]
    assert "nothing to invoice" in ok(state_dir, "invoices", "issue", "--month", PERIOD)


def test_what_is_printed_of_a_customer_is_set_and_shown(state_dir: Path) -> None:
    ok(
        state_dir, "invoices", "details", "delta", "--tax-percent", "7.7", "--address", r"Ερμού 7\nΑθήνα",
        "--payment-days", "3",
    )  # fmt: skip
    found = json.loads(ok(state_dir, "invoices", "details", "delta", "--json"))
    assert (found["tax_ppm"], found["address"], found["payment_days"]) == (77_000, "Ερμού 7\nΑθήνα", 3)
    assert found["legal_name"].startswith("Δέλτα")
    assert "7.7 %" in ok(state_dir, "invoices", "details", "delta")
    assert isinstance(refused(state_dir, "invoices", "details", "delta", "--tax-percent", "7.12345"), InvalidInputError)
    assert isinstance(refused(state_dir, "invoices", "details", "nobody"), NotFoundError)


def test_wrong_use_is_told(state_dir: Path) -> None:
    assert "no billing period" in refused(state_dir, "invoices", "draft", "--month", "January").message
    assert isinstance(refused(state_dir, "invoices", "issue", "--month", "2199-01", "--tenant", "delta"), ConflictError)
    assert isinstance(refused(state_dir, "invoices", "show", "INV-1"), NotFoundError)
    (state_dir / "settings.toml").write_text('[seller]\nnmae = "x"\n')
    assert "[seller] has name" in refused(state_dir, "invoices", "draft", "--month", PERIOD).message


def test_a_webhook_is_told_of_an_invoice_and_what_failed_is_sent_again(state_dir: Path) -> None:
    with other_server(lambda _: (500, b"")) as server:
        added = json.loads(
            ok(state_dir, "webhooks", "add", server.url, "--tenant", "delta", "--event", "invoice.issued", "--json")
        )
        assert server.url in ok(state_dir, "webhooks", "list")
        ok(state_dir, "invoices", "issue", "--month", PERIOD)
        (waiting,) = json.loads(ok(state_dir, "webhooks", "deliveries", "--json"))
        assert (waiting["state"], waiting["type"]) == ("pending", "invoice.issued")
        ok(state_dir, "webhooks", "retry", waiting["message"])
        (failed,) = json.loads(ok(state_dir, "webhooks", "deliveries", "--tenant", "delta", "--json"))
        assert (failed["attempts"], failed["reason"]) == (1, "the endpoint answered 500")
        server.answer = lambda _: (200, b"")
        assert ok(state_dir, "webhooks", "retry", waiting["message"]) == "sent again to 1: delivered\n"
        assert ok(state_dir, "webhooks", "test", added["id"]) == "delivered 200\n"
        told = Webhook(added["secret"]).verify(server.requests[-2].body, server.requests[-2].headers)
        assert told["data"]["number"] == "INV-2026-0002"
    assert "removed" in ok(state_dir, "webhooks", "remove", added["id"])
    assert json.loads(ok(state_dir, "webhooks", "list", "--json")) == []
    assert added["secret"] not in ok(state_dir, "webhooks", "deliveries")


def test_usage_is_reported_to_a_payment_provider(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AIRSERVE_PAYMENTS_KEY" in refused(state_dir, "payments", "push").message
    ledger = Ledger()
    with other_server(ledger) as server:
        monkeypatch.setenv("AIRSERVE_PAYMENTS_KEY", KEY)
        monkeypatch.setenv("AIRSERVE_PAYMENTS_URL", server.url)
        assert json.loads(ok(state_dir, "payments", "link", "delta", "--json"))["customer"].startswith("cus_Δέλτα")
        assert json.loads(ok(state_dir, "payments", "push", "--json")) == {"meter_events": 0}
    assert "delta" in ok(state_dir, "payments", "list")
    assert "nothing was refused" in ok(state_dir, "payments", "refusals")
    ok(state_dir, "payments", "unlink", "delta")
    assert json.loads(ok(state_dir, "payments", "list", "--json")) == []


def test_single_calls_are_exported_as_cloud_events(state_dir: Path, tmp_path: Path) -> None:
    lines = ok(state_dir, "usage", "export", "--tenant", "delta", "--since", "2026-01-01", "--until", "2026-01-31")
    assert len({json.loads(line)["id"] for line in lines.splitlines()}) == 150
    assert ok(state_dir, "usage", "export", "--until", "2025-12-31") == ""
    ok(state_dir, "usage", "export", "--tenant", "delta", "--output", str(tmp_path / "calls.jsonl"))
    assert (tmp_path / "calls.jsonl").read_text() == lines
    with other_server() as server:
        assert ok(state_dir, "usage", "export", "--to", server.url, "--header", "Authorization: Bearer t") == (
            "sent 450 events\n"
        )
        assert ok(state_dir, "usage", "export", "--to", server.url) == "sent 0 events\n"
    assert server.requests[0].headers["authorization"] == "Bearer t"
    assert run(state_dir, "usage", "export", "--to", server.url, "--tenant", "delta").exit_code == 2


def test_prices_are_set_with_tiers_and_listed_with_those_of_plans(state_dir: Path) -> None:
    said = ok(
        state_dir,
        "prices",
        "set",
        "digits",
        "--per-call",
        "0.001",
        "--tier",
        "calls:1000:0.0008",
        "--per-megabyte",
        "0.01",
    )
    assert "0.001 EUR a call then 0.0008 EUR from 1000 on, 0.01 EUR a megabyte" in said
    listed = json.loads(ok(state_dir, "prices", "list", "--json"))
    assert listed[0]["tiers"] == {"calls": [[1000, 800_000]]}
    assert len(listed) == 1 + sum(len(tenant.prices) for tenant in tenants())
    assert "team@1" in ok(state_dir, "prices", "list")
    for tier in ("calls", "calls:x:1", "days:1:0", "calls:5:2"):
        assert isinstance(
            refused(state_dir, "prices", "set", "m", "--per-call", "1", "--tier", tier), InvalidInputError
        )
