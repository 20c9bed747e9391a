"""A short campaign of kills on both databases, and that the campaign would notice what it looks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign.load import BODY, MODEL, STREAM_BODY, STREAMS, WORDS, Transcript
from campaign.results import BEGIN, END, table, write
from campaign.run import Campaign, Findings, compare, compare_streams, crash_points

from airserve.accounts import Principal
from airserve.metering.ledger import ledger_id
from airserve.server.calls import Calls

POINTS = (
    "journal.before_write",
    "journal.after_write",
    "fold.after_events",
    "fold.before_commit",
    "postings.after_entry",
    "idempotency.after_claim",
    "leases.amid_settle",
    "unfinished.after_ends",
    "invoices.before_close",
)


@pytest.fixture
def campaign(database_url: str | None, tmp_path: Path) -> Iterator[Campaign]:
    run = Campaign("sqlite" if database_url is None else "postgresql", lambda: database_url, tmp_path, seed=7)
    yield run
    run.close()


@pytest.mark.server
def test_killed_processes_lose_nothing_count_nothing_twice_and_the_audit_prints_zero(campaign: Campaign) -> None:
    for name in POINTS:
        campaign.hit(name, 1)
    for _ in range(4):
        campaign.serve_and_kill()
    campaign.keep_books_and_kill()
    found = campaign.findings
    assert (found.lost, found.twice, found.differs) == ([], [], [])
    assert {name: found.hits[name] for name in POINTS} == dict.fromkeys(POINTS, 1)
    assert found.audits == len(POINTS) + 5
    assert found.streams > 0
    assert found.answered > 0 and found.under_load > 0
    assert found.recorded >= found.answered


@pytest.mark.server
def test_a_whole_service_is_killed_too(tmp_path: Path) -> None:
    run = Campaign("sqlite", lambda: None, tmp_path, seed=3)
    run.serve_whole_and_kill()
    run.close()
    assert run.findings.wrong == 0 and run.findings.under_load == 1


def row_of(call_id: str) -> str:
    return ledger_id("ten_a", Calls.event_id(Principal("", "ten_a", None), MODEL, call_id, BODY))


def test_a_lost_call_a_second_count_and_a_call_that_nobody_made_are_noticed() -> None:
    transcript = Transcript(sent={"a", "b", "c"}, answered={"a", "b"})
    for ids, lost, twice in (
        ([row_of("a"), row_of("b")], [], []),
        ([row_of("a"), row_of("b"), row_of("c")], [], []),
        ([row_of("a")], ["b"], []),
        ([row_of("a"), row_of("b"), row_of("b")], [], [row_of("b")]),
        ([row_of("a"), row_of("b"), row_of("x")], [], [row_of("x")]),
    ):
        findings = Findings("sqlite")
        compare(findings, transcript, ids)
        assert (findings.lost, findings.twice) == (lost, twice)


def test_a_word_that_nobody_paid_for_and_a_stream_that_is_charged_twice_are_noticed() -> None:
    def row(call_id: str) -> str:
        principal = Principal("", "ten_a", None)
        return ledger_id("ten_a", Calls.event_id(principal, STREAMS, call_id, STREAM_BODY))

    transcript = Transcript(streams={"a": 20, "b": None})
    for charged, lost, twice in (
        ([(row("a"), 20)], 0, 0),
        ([(f"{row('a')}/partial/5", 33), (row("b"), 4)], 0, 0),
        ([(row("a"), 19)], 1, 0),
        ([(row("a"), WORDS + 1)], 1, 0),
        ([], 1, 0),
        ([(row("a"), 20), (f"{row('a')}/partial/5", 16)], 0, 1),
        ([(row("a"), 20), (row("x"), 16)], 0, 1),
    ):
        findings = Findings("sqlite")
        compare_streams(findings, transcript, charged)
        assert (len(findings.lost), len(findings.twice)) == (lost, twice), charged


def test_the_table_takes_its_place_on_the_page_and_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    findings = Findings("sqlite", answered=12_345)
    findings.hits["journal.before_write"] = 20
    for _ in range(2):
        write(page, table([findings], "python -m campaign", "2026-01-31"))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("12,345") == 1 and "| `journal.before_write` | 20 |" in text


def test_every_write_sync_rename_and_commit_of_money_has_a_crash_point() -> None:
    names = crash_points()
    assert len(names) == len(set(names)) >= 40
    assert {name.partition(".")[0] for name in names} >= {
        "journal", "fold", "postings", "archive", "leases", "treasurer", "idempotency", "invoices", "outbox",
        "unfinished",
    }  # fmt: skip
