"""The campaign's figures as a table of a page of the documentation, between two marks that only this file knows."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from campaign.run import Findings

BEGIN = "<!-- written by `python -m campaign`; begin -->"
END = "<!-- written by `python -m campaign`; end -->"


def table(findings: Sequence[Findings], command: str, day: str) -> str:
    """What was done and found, in Markdown, a column for each database."""
    rows = [
        ("", *(each.database for each in findings)),
        ("---", *("--:" for _ in findings)),
        ("processes killed", *(f"{each.kills.total():,}" for each in findings)),
        ("… that had answered calls and had more in flight", *(f"{each.under_load:,}" for each in findings)),
        ("… of whole services, `airserve up`", *(f"{_whole(each):,}" for each in findings)),
        ("crash points, each with the hits it had at least", *(_hits(each) for each in findings)),
        ("answered calls looked for in the ledger, id by id", *(f"{each.answered:,}" for each in findings)),
        ("streams of which anything came, compared word by word", *(f"{each.streams:,}" for each in findings)),
        ("… tokens charged that had not come, at most", *(f"{each.ahead:,}" for each in findings)),
        ("audits, one after each kill", *(f"{each.audits:,}" for each in findings)),
        ("amounts and events that they compared", *(f"{each.compared:,}" for each in findings)),
        (
            "**lost**: answered, or any byte of it, and not in the ledger",
            *(f"**{len(each.lost)}**" for each in findings),
        ),
        ("**counted twice**, or never sent", *(f"**{len(each.twice)}**" for each in findings)),
        ("**differences** found by the audits", *(f"**{len(each.differs)}**" for each in findings)),
        ("seconds", *(f"{each.seconds:.0f}" for each in findings)),
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.append("")
    lines.append(f"`{command}` on {day}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}.")
    names = sorted({name for each in findings for name in (*each.hits, *each.not_reached)})
    if names:
        lines += ["", "| crash point | " + " | ".join(each.database for each in findings) + " |"]
        lines.append("|---|" + "--:|" * len(findings))
        lines += [f"| `{name}` | " + " | ".join(_of_point(each, name) for each in findings) + " |" for name in names]
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put `text` between the marks of the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: it needs the lines\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _whole(findings: Findings) -> int:
    return sum(times for name, times in findings.kills.items() if name.startswith("airserve up"))


def _hits(findings: Findings) -> str:
    reached = [times for times in findings.hits.values() if times]
    return f"{len(reached)}, {min(reached)}" if reached else "0"


def _of_point(findings: Findings, name: str) -> str:
    return str(findings.hits[name]) if findings.hits[name] else "not passed"
