"""Reporting to a server that speaks Stripe's two endpoints: what it has, and that nothing is there twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa

from airserve.accounts import create_tenant
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.metering import Journal, Outcome, Price, UsageEvent, fold
from airserve.metering.outgoing import UnreachableError
from airserve.metering.payments.provider import RefusedEventError
from airserve.metering.payments.report import link_customer, linked_customers, report_usage, unlink_customer
from airserve.metering.payments.stripe import NAME, Stripe
from airserve.metering.prices import insert_price
from airserve.storage import Database, tables
from tests.metering.other_server import Answer, Request, other_server

MakeEvent = Callable[..., UsageEvent]
KEY = "sk_test_" + "x" * 24


@dataclass
class Ledger:
    """What Stripe keeps of meter events: each identifier once."""

    events: dict[str, dict[str, str]] = field(default_factory=dict)
    customers: dict[str, dict[str, str]] = field(default_factory=dict)
    fail: Callable[[int], int] = lambda _: 0
    seen: int = 0

    def __call__(self, request: Request) -> Answer:
        self.seen += 1
        assert request.headers["authorization"] == f"Bearer {KEY}"
        fields = dict(parse_qsl(request.body.decode()))
        status = self.fail(self.seen)
        if status == 400:
            return _error(400, "No such meter")
        if request.path == "/v1/customers":
            found = self.customers.setdefault(request.headers["idempotency-key"], fields)
            return 200, json.dumps({"id": f"cus_{found['name']}"}).encode()
        assert request.path == "/v1/billing/meter_events"
        if status and status < 1000:
            return _error(status, "later")
        if fields["identifier"] in self.events:
            return _error(400, f"An event already exists with identifier {fields['identifier']}.")
        self.events[fields["identifier"]] = fields
        # The event was taken, and the answer is lost.
        return _error(status - 1000, "lost") if status else (200, b"{}")


def _error(status: int, message: str) -> Answer:
    return status, json.dumps({"error": {"type": "invalid_request_error", "message": message}}).encode()


@pytest.fixture
def used(database: Database, tmp_path: Path, make_event: MakeEvent) -> tuple[Database, list[UsageEvent]]:
    acme, other = (create_tenant(database, name, now_ns=1).id for name in ("acme", "other"))
    with database.write() as connection:
        price = insert_price(
            connection, Price(0, "*", 1_000, 0, "EUR", per_million_output_tokens_nano=5, per_megabyte_nano=1), 1
        )
    events = [
        make_event(id=f"c{number}", tenant_id=tenant, price_id=price.id, outcome=outcome, amount_nano=1_000 * costs,
                   output_tokens=number)
        for number, (tenant, outcome, costs) in enumerate(
            [(acme, Outcome.OK, 1)] * 30 + [(acme, Outcome.LATE, 0)] * 3 + [(other, Outcome.OK, 1)] * 5
            + [(acme, Outcome.PARTIAL, 1)] * 2
        )
    ]  # fmt: skip
    journal = Journal.open(tmp_path / "journal", "n")
    for start in range(0, len(events), 7):
        journal.append(events[start : start + 7])
    journal.close()
    fold(database, tmp_path / "journal")
    link_customer(database, NAME, acme, "cus_acme", now_ns=0)
    return database, [event for event in events if event.tenant_id == acme and event.outcome is not Outcome.LATE]


def sums(ledger: Ledger) -> dict[str, int]:
    found: dict[str, int] = {}
    for fields in ledger.events.values():
        assert fields["payload[stripe_customer_id]"] == "cus_acme"
        found[fields["event_name"]] = found.get(fields["event_name"], 0) + int(fields["payload[value]"])
    return found


def expected(events: list[UsageEvent]) -> dict[str, int]:
    ok = [event for event in events if event.outcome is Outcome.OK]
    return {
        "airserve_calls": len(ok),
        "airserve_output_tokens": sum(event.output_tokens for event in events),
        "airserve_bytes": sum(event.bytes_in + event.bytes_out for event in ok),
    }


def test_what_linked_tenants_used_is_reported_once_however_often_it_is_sent(
    used: tuple[Database, list[UsageEvent]],
) -> None:
    database, events = used
    ledger = Ledger()
    with other_server(ledger) as server:
        stripe = Stripe(server.url, KEY)
        assert report_usage(database, stripe, clock_ns=lambda: 5) == len(ledger.events) > 60
        assert report_usage(database, stripe, clock_ns=lambda: 5) == 0
        with database.write() as connection:
            connection.execute(sa.delete(tables.export_marks))
        report_usage(database, stripe, clock_ns=lambda: 5)
    assert sums(ledger) == expected(events)
    assert all(len(fields["identifier"]) <= 100 for fields in ledger.events.values())


@pytest.mark.parametrize("status", [503, 429, 401, 1500])
@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_provider_that_fails_half_way_is_told_the_rest_later_and_nothing_twice(
    used: tuple[Database, list[UsageEvent]], status: int
) -> None:
    database, events = used
    ledger = Ledger(fail=lambda seen: status if seen == 20 else 0)
    with other_server(ledger) as server:
        stripe = Stripe(server.url, KEY)
        with pytest.raises(UnreachableError):
            report_usage(database, stripe, clock_ns=lambda: 5)
        report_usage(database, stripe, clock_ns=lambda: 5)
    assert sums(ledger) == expected(events)


def test_an_event_that_is_refused_for_good_is_kept_with_its_reason_and_holds_up_no_other(
    used: tuple[Database, list[UsageEvent]],
) -> None:
    database, _ = used
    ledger = Ledger(fail=lambda seen: 400 if seen == 1 else 0)
    with other_server(ledger) as server:
        report_usage(database, Stripe(server.url, KEY), clock_ns=lambda: 5)
    with database.read() as connection:
        (refusal,) = connection.execute(sa.select(tables.export_refusals)).all()
    assert "No such meter" in refusal.reason
    assert len({fields["identifier"] for fields in ledger.events.values()}) > 50


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_what_was_used_before_the_link_and_after_its_end_is_not_reported(
    used: tuple[Database, list[UsageEvent]],
) -> None:
    database, events = used
    tenant = events[0].tenant_id
    ledger = Ledger()
    with other_server(ledger) as server:
        stripe = Stripe(server.url, KEY)
        link_customer(database, NAME, tenant, "cus_acme", now_ns=events[0].admitted_ns + 1)
        assert report_usage(database, stripe, clock_ns=lambda: 5) == 0
        unlink_customer(database, NAME, tenant)
        assert linked_customers(database, NAME) == {}
    assert ledger.events == {}
    with pytest.raises(NotFoundError):
        unlink_customer(database, NAME, tenant)


def test_a_customer_is_made_once_for_a_tenant() -> None:
    ledger = Ledger()
    with other_server(ledger) as server:
        stripe = Stripe(server.url, KEY)
        assert {stripe.create_customer("ten_1", "Acme", "pay@acme.example") for _ in range(2)} == {"cus_Acme"}
        ledger.fail = lambda _: 400
        with pytest.raises(RefusedEventError, match="No such meter"):
            stripe.create_customer("ten_2", "Other", "")
    assert list(ledger.customers.values()) == [
        {"name": "Acme", "email": "pay@acme.example", "metadata[airserve_tenant]": "ten_1"}
    ]


@pytest.mark.parametrize("url", ["http://api.stripe.com", "http://10.0.0.1", "ftp://127.0.0.1", "api.stripe.com"])
def test_a_secret_key_is_not_sent_in_the_clear(url: str) -> None:
    with pytest.raises(InvalidInputError, match="https"):
        Stripe(url, KEY)
