from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cloudevents.http import from_json

from airserve.metering import Journal, Outcome, UsageEvent, fold
from airserve.metering.cloudevents import BATCH, BATCH_MEDIA_TYPE, cloud_events, send_new
from airserve.metering.outgoing import UnreachableError
from airserve.storage import Database
from tests.metering.other_server import Answer, Request, other_server

MakeEvent = Callable[..., UsageEvent]
SECOND_NS = 10**9


def record(database: Database, folder: Path, events: list[UsageEvent], node: str = "n") -> None:
    journal = Journal.open(folder / "journal", node)
    journal.append(events)
    journal.close()
    fold(database, folder / "journal")


def test_a_call_is_an_event_that_the_library_of_cloudevents_reads(
    database: Database, tmp_path: Path, make_event: MakeEvent
) -> None:
    event = make_event(admitted_ns=1_767_225_600 * SECOND_NS + 42, project_id="prj_1", output_tokens=7)
    record(database, tmp_path, [event])
    (line,) = cloud_events(database, "urn:airserve:test")
    read = from_json(line)
    assert (read["id"], read["source"], read["type"], read["subject"], read["specversion"]) == (
        "ten_a/call-0", "urn:airserve:test", "airserve.call.v1", "ten_a", "1.0",
    )  # fmt: skip
    assert json.loads(line)["time"] == "2026-01-01T00:00:00.000000042Z"
    assert read.data["amount_nano"] == 1_000
    assert (read.data["project_id"], read.data["output_tokens"], read.data["outcome"]) == ("prj_1", 7, "ok")


def test_tenant_and_time_narrow_what_is_exported(database: Database, tmp_path: Path, make_event: MakeEvent) -> None:
    record(database, tmp_path, [make_event(id=f"c{n}", tenant_id=f"ten_{n % 2}", admitted_ns=n) for n in range(10)])
    lines = cloud_events(database, "s", tenant_id="ten_1", start_ns=3, end_ns=9)
    assert [json.loads(line)["id"] for line in lines] == ["ten_1/c3", "ten_1/c5", "ten_1/c7"]


def test_an_endpoint_gets_every_event_whatever_fails_and_only_what_is_new(
    database: Database, tmp_path: Path, make_event: MakeEvent
) -> None:
    count = 2 * BATCH + 10
    record(database, tmp_path, [make_event(id=f"c{n}") for n in range(count)])
    # The same calls from another journal are in the ledger already, and have no row of their own.
    record(database, tmp_path, [make_event(id="c0"), make_event(id="c1")], "other")
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        assert request.headers["content-type"] == BATCH_MEDIA_TYPE
        assert request.headers["authorization"] == "Bearer t"
        if len(server.requests) == 2:
            return 503, b""
        seen.extend(each["id"] for each in json.loads(request.body))
        return 202, b""

    with other_server(answer) as server:
        send = lambda: send_new(database, server.url, "s", {"authorization": "Bearer t"}, allow_private=True)  # noqa: E731
        with pytest.raises(UnreachableError, match=f"took {BATCH} events, then answered 503"):
            send()
        assert send() == count - BATCH
        record(database, tmp_path, [make_event(id="late", outcome=Outcome.LATE, amount_nano=0)])
        assert (send(), send()) == (1, 0)
    assert len(seen) == len(set(seen)) == count + 1
