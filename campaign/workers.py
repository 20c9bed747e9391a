"""What is killed: processes that are forked when all is imported, so that a start takes a fraction of a second.

    python -m campaign.workers

reads one JSON command a line on standard input and answers with one. `serve` runs everything that a serving process of
`airserve up` does behind its front (runtime, endpoints, HTTP/1.1), on a Unix domain socket, and folds the journal
beside it as the supervisor does; `books` posts, reverses, invoices and archives; `audit` folds, audits and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airserve.core import crash_points

FOLD_EVERY_S = 0.03
BOOKS = "ten_books"
"""Whose credits are posted by hand; invoices are those of the tenant that calls."""


def main() -> None:
    """Fork what the commands ask for; one worker is alive at a time."""
    _import_all()
    worker = 0
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "serve":
                worker = _fork(lambda of: asyncio.run(_serve(of)), command)
                answer: Any = worker
            case "books":
                worker = _fork(_keep_books, command)
                answer = worker
            case "wait":
                answer = _wait(worker, command["seconds"])
            case "kill":
                os.kill(worker, signal.SIGKILL)
                answer = os.waitpid(worker, 0)[1]
            case "furnish" | "audit":
                answer = _asked(_furnish if command["do"] == "furnish" else _audit, command)
        print(json.dumps(answer), flush=True)


def _import_all() -> None:
    import tests.models_for_tests  # noqa: F401

    import airserve.cli.first_start
    import airserve.engines.upstream
    import airserve.metering.archive
    import airserve.metering.audit
    import airserve.metering.invoices.settle
    import airserve.models.onnx_import
    import airserve.server.endpoints
    import airserve.server.http1  # noqa: F401


def _fork(work: Callable[[dict[str, Any]], None], command: dict[str, Any]) -> int:
    """A process of its own that does `work`, and dies at the crash point of the command, if it names one."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _become(command)
        crash_points.arm(command.get("crash"))
        work(command)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _become(command: dict[str, Any]) -> None:
    """What differs between two processes that were started, and not between two that were forked."""
    import airserve.server.calls as calls

    calls._RUN = os.urandom(8).hex()
    if command["url"] is None:
        os.environ.pop("AIRSERVE_DATABASE_URL", None)
    else:
        os.environ["AIRSERVE_DATABASE_URL"] = command["url"]


def _wait(pid: int, seconds: float) -> int | None:
    """How the worker ended (a status of waitpid) within `seconds`; None where it lives."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def _asked(work: Callable[[dict[str, Any]], Any], command: dict[str, Any]) -> Any:
    """The answer of a process that ends by itself."""
    ours, theirs = os.pipe()

    def tell(of: dict[str, Any]) -> None:
        os.close(ours)
        with os.fdopen(theirs, "wb") as file:
            file.write(json.dumps(work(of)).encode())

    pid = _fork(tell, command)
    os.close(theirs)
    answer = b""
    while select.select([ours], [], [], 60)[0] and (piece := os.read(ours, 65536)):
        answer += piece
    os.close(ours)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


async def _serve(command: dict[str, Any]) -> None:
    from airserve.server.endpoints import Endpoints
    from airserve.server.http1 import Http1Server
    from airserve.server.installation import journal_folder, open_database
    from airserve.server.logs import configure_logs
    from airserve.server.runtime import Runtime
    from airserve.server.settings import load_settings

    settings = load_settings(Path(command["state_dir"]), log_level="error")
    configure_logs(settings.log_level)
    sys.setswitchinterval(0.001)
    endpoints = Endpoints(Runtime(settings))
    database = open_database(settings)
    threading.Thread(target=_fold, args=(database, journal_folder(settings)), daemon=True).start()
    socket = Path(command["socket"])
    socket.unlink(missing_ok=True)
    server = Http1Server(endpoints.handle)
    await server.listen_unix(socket)
    await asyncio.Event().wait()


def _fold(database: Any, folder: Path) -> None:
    from airserve.metering.ledger import fold

    while True:
        fold(database, folder)
        time.sleep(FOLD_EVERY_S)


def _keep_books(command: dict[str, Any]) -> None:
    """Post payments, reverse every third, invoice, archive what was folded; each id is written once it is posted."""
    from airserve.metering.archive import prune
    from airserve.metering.ledger import fold
    from airserve.metering.periods import period_of
    from airserve.metering.postings import BANK, Entry, credit, post, reverse
    from airserve.server.installation import journal_folder, open_database
    from airserve.server.settings import load_settings

    settings = load_settings(Path(command["state_dir"]), log_level="error")
    database, folder = open_database(settings), journal_folder(settings)
    period = period_of(time.time_ns())
    with Path(command["posted"]).open("ab", buffering=0) as posted:
        for number in range(200):
            event = f"{command['run']}-{number}"
            entry = Entry(BANK, credit(BOOKS), 1_000 + number, "EUR", "payment", BOOKS, period, event_id=event)
            with database.write(announce=False) as connection:
                entry_id = post(connection, entry, now_ns=time.time_ns())
            posted.write(f"{event}\n".encode())
            if number % 3 == 0:
                with database.write(announce=False) as connection:
                    reverse(connection, entry_id, period=period, now_ns=time.time_ns())
            if number % 4 == 0:
                _bill(database, number)
            if number % 5 == 0:
                fold(database, folder)
                prune(database, folder, archive_before_ns=time.time_ns())


def _bill(database: Any, number: int) -> None:
    """Issue an invoice of the first month that has none, as if it were over; make it void, or credit a bit and pay it.

    What was on one that is void is on the next month's.
    """
    from airserve.accounts.tenants import list_tenants
    from airserve.metering.invoices.details import Seller
    from airserve.metering.invoices.draft import Customer
    from airserve.metering.invoices.issue import issue
    from airserve.metering.invoices.register import issued
    from airserve.metering.invoices.settle import credit, pay, void
    from airserve.metering.periods import bounds_ns, period_of

    (tenant,) = list_tenants(database)
    with database.read() as connection:
        found = issued(connection, tenant_id=tenant.id)
    now_ns = time.time_ns()
    period = period_of(now_ns)
    while any(each.period == period for each in found):
        period = period_of(bounds_ns(period)[1])
    now_ns = max(now_ns, bounds_ns(period)[1])
    for document in issue(database, Customer(tenant.id, tenant.name), period, Seller(), now_ns=now_ns):
        if number < 12:
            void(database, document.number, now_ns=now_ns, reason="a wrong address")
            continue
        if document.net_minor > 1:
            credit(database, document.number, now_ns=now_ns, reason="a day without service", net_minor=1)
        pay(database, document.number, now_ns=now_ns)


def _furnish(command: dict[str, Any]) -> str:
    from campaign.house import House, furnish

    return furnish(House(Path(command["state_dir"]), command["url"], command["upstream"]))


def _audit(command: dict[str, Any]) -> dict[str, Any]:
    """Fold what the killed process left, audit all, and give the ids that the ledger has."""
    import sqlalchemy as sa

    from airserve.metering.audit import audit
    from airserve.metering.event import COSTS
    from airserve.metering.ledger import fold
    from airserve.metering.unfinished import unfinished
    from airserve.server.installation import journal_folder, node_id, open_database
    from airserve.server.settings import load_settings
    from airserve.storage import tables
    from campaign.load import MODEL, STREAMS

    settings = load_settings(Path(command["state_dir"]))
    database, folder = open_database(settings), journal_folder(settings)
    fold(database, folder)
    checks = audit(database, folder)
    events, entries = tables.usage_events.c, tables.ledger_entries.c
    with database.read() as connection:
        ids = connection.scalars(sa.select(events.id).where(events.outcome == "ok", events.model == MODEL)).all()
        costs = events.outcome.in_([outcome.value for outcome in COSTS])
        ended = connection.execute(
            sa.select(events.id, events.output_tokens).where(events.model == STREAMS, costs)
        ).all()
        projects = connection.scalars(sa.select(events.project_id).distinct()).all()
        posted = connection.scalars(
            sa.select(entries.event_id).where(entries.kind == "payment", entries.tenant_id == BOOKS)
        ).all()
    # What the next start of this node ends.
    begun = [(f"{each.tenant_id}/{each.id}", each.output_tokens) for each in unfinished(database, node_id(settings))]
    return {
        "differs": [f"{check.number} {detail}" for check in checks for detail in check.details],
        "compared": sum(check.compared for check in checks),
        "ids": list(ids),
        "projects": list(projects),
        "streams": [tuple(row) for row in ended],
        "begun": begun,
        "posted": list(posted),
    }


if __name__ == "__main__":
    main()
