"""Run the campaign, say what it found, and end with 1 where anything was lost, counted twice or differs."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import campaign
from campaign.results import table, write
from campaign.run import Campaign, Findings, crash_points


def main() -> int:
    """Parse the command line, run, and report."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=campaign.__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument(
        "--kills", type=int, default=1_000, help="random kills of serving processes, over all databases"
    )
    parser.add_argument("--services", type=int, default=40, help="… of which of whole services, `airserve up`")
    parser.add_argument("--hits", type=int, default=20, help="deaths at each crash point, for each database")
    parser.add_argument("--points", nargs="*", help="only these crash points")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop beginning new rounds after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    arguments = parser.parse_args()
    kinds = ["sqlite", "postgresql"] if arguments.database == "both" else [arguments.database]
    found = []
    for kind in kinds:
        end = time.monotonic() + arguments.minutes * 60 / len(kinds)
        with tempfile.TemporaryDirectory(prefix="airserve-") as folder, _databases(kind) as new_url:
            run = Campaign(kind, new_url, Path(folder), arguments.seed)
            try:
                _rounds(run, arguments, len(kinds), end)
            finally:
                run.close()
        found.append(run.findings)
    command = "python -m campaign " + shlex.join(each for each in _given(sys.argv[1:]))
    text = table(found, command.strip(), str(dt.datetime.now(dt.UTC).date()))
    print(text)
    for each in found:
        for what in (*each.lost[:20], *each.twice[:20], *each.differs[:20]):
            print(f"{each.database}: {what}")
    if arguments.write:
        write(arguments.write, text)
    return 1 if any(each.wrong for each in found) else 0


def _given(arguments: list[str]) -> list[str]:
    """The command line without the page, which says nothing of what was done."""
    if "--write" in arguments:
        at = arguments.index("--write")
        return arguments[:at] + arguments[at + 2 :]
    return arguments


def _rounds(run: Campaign, arguments: argparse.Namespace, databases: int, end: float) -> None:
    started = time.monotonic()
    findings = run.findings
    services, kills = arguments.services // databases, arguments.kills // databases
    for name in crash_points() if arguments.points is None else arguments.points:
        if time.monotonic() < end:
            run.hit(name, arguments.hits)
            _say(findings, started, f"{name}: {findings.hits[name]} hits")
    for number in range(services):
        if time.monotonic() < end:
            run.serve_whole_and_kill()
            if number % 10 == 9:
                _say(findings, started, f"{number + 1} services")
    for number in range(kills - services):
        if time.monotonic() >= end:
            break
        # One in ten keeps books instead of serving.
        (run.keep_books_and_kill if number % 10 == 9 else run.serve_and_kill)()
        if number % 50 == 49:
            _say(findings, started, f"{number + 1} random kills")
    findings.seconds = time.monotonic() - started


def _say(findings: Findings, started: float, what: str) -> None:
    print(
        f"{findings.database} {time.monotonic() - started:6.0f} s  {what}; {findings.answered} answered, "
        f"{len(findings.lost)} lost, {len(findings.twice)} twice, {len(findings.differs)} differ",
        flush=True,
    )


@contextlib.contextmanager
def _databases(kind: str) -> Iterator[Callable[[], str | None]]:
    """What gives a new database: none is needed for SQLite, a server of the tests' own lends those of PostgreSQL."""
    if kind == "sqlite":
        yield lambda: None
        return
    from tests import postgres

    with postgres.running() as server, contextlib.ExitStack() as lent:

        def another() -> str:
            lent.close()
            return lent.enter_context(server.database())

        yield another


if __name__ == "__main__":
    sys.exit(main())
