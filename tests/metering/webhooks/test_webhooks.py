from __future__ import annotations

import json
import threading

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from airserve.accounts import create_tenant
from airserve.core.errors import AirserveError, ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from airserve.metering.webhooks import delivery
from airserve.metering.webhooks.delivery import MAX_ATTEMPTS, SECOND_NS, deliver_due, pause_ns
from airserve.metering.webhooks.endpoints import (
    MAX_ENDPOINTS,
    Endpoint,
    add_endpoint,
    list_deliveries,
    list_endpoints,
    remove_endpoint,
    retry,
    send_test,
)
from airserve.metering.webhooks.signature import new_secret, open_secret, seal_secret, signature_headers
from airserve.storage import Database, tables
from airserve.storage.outbox import announce
from tests.metering.other_server import other_server

PEPPER = b"p" * 32
NOW_NS = 1_800_000_000 * SECOND_NS


class Clock:
    def __init__(self) -> None:
        self.ns = NOW_NS

    def __call__(self) -> int:
        return self.ns


def add(
    database: Database, url: str, tenant_id: str | None = None, events: tuple[str, ...] = ("*",)
) -> tuple[Endpoint, str]:
    return add_endpoint(database, PEPPER, url, tenant_id=tenant_id, events=events, allow_private=True, now_ns=NOW_NS)


def tell(
    database: Database,
    key: str = "INV-1",
    tenant_id: str | None = None,
    type: str = "invoice.issued",
    at_ns: int = NOW_NS,
) -> str:
    with database.write(announce=False) as connection:
        return announce(connection, type, {"number": key}, key=key, now_ns=at_ns, tenant_id=tenant_id)


def deliver(database: Database, clock: Clock) -> int:
    return deliver_due(database, PEPPER, allow_private=True, clock_ns=clock, jitter=lambda: 0.0)


def test_a_message_arrives_once_signed_so_that_the_standard_library_of_receivers_takes_it(database: Database) -> None:
    import time

    clock = Clock()
    clock.ns = time.time_ns()
    with other_server() as server:
        _, secret = add(database, f"{server.url}/hook")
        message = tell(database, at_ns=clock.ns)
        assert (deliver(database, clock), deliver(database, clock)) == (1, 0)
    (request,) = server.requests
    told = Webhook(secret).verify(request.body, request.headers)
    assert (told["type"], told["data"], request.headers["webhook-id"]) == (
        "invoice.issued",
        {"number": "INV-1"},
        message,
    )
    with pytest.raises(Exception, match="signature"):
        Webhook(new_secret()).verify(request.body, request.headers)
    (delivered,) = list_deliveries(database)
    assert (delivered.state, delivered.attempts, delivered.status) == ("delivered", 1, 204)


def test_what_is_announced_twice_is_one_message_and_what_is_rolled_back_is_none(database: Database) -> None:
    add(database, "http://127.0.0.1:9/")
    assert tell(database) == tell(database)
    with pytest.raises(RuntimeError), database.write(announce=False) as connection:
        announce(connection, "invoice.paid", {}, key="INV-1", now_ns=NOW_NS)
        raise RuntimeError
    assert [each.type for each in list_deliveries(database)] == ["invoice.issued"]


def test_endpoints_are_told_what_they_asked_for_of_their_own_tenant_and_the_operator_of_all(database: Database) -> None:
    acme, other = (create_tenant(database, name, now_ns=1).id for name in ("acme", "other"))
    ids = {
        name: add(database, f"http://127.0.0.1:9/{name}", tenant_id, events)[0].id
        for name, tenant_id, events in (
            ("operator", None, ("*",)), ("acme", acme, ("*",)), ("other", other, ("*",)),
            ("paid", acme, ("invoice.paid",)),
        )
    }  # fmt: skip
    tell(database, "INV-1", acme)
    assert {each.endpoint_id for each in list_deliveries(database)} == {ids["operator"], ids["acme"]}
    tell(database, "key", None, "key.revoked")
    assert {each.endpoint_id for each in list_deliveries(database) if each.type == "key.revoked"} == {ids["operator"]}
    assert {each.id for each in list_endpoints(database, acme)} == {ids["acme"], ids["paid"]}


def test_a_failure_is_tried_again_with_growing_pauses_until_it_is_given_up(database: Database) -> None:
    clock = Clock()
    with other_server(lambda _: (500, b"")) as server:
        add(database, server.url)
        message = tell(database)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            assert deliver(database, clock) == 0
            (waiting,) = list_deliveries(database)
            assert (waiting.attempts, waiting.status) == (attempt, 500)
            if attempt < MAX_ATTEMPTS:
                assert (waiting.state, waiting.next_ns) == ("pending", clock.ns + pause_ns(attempt, 0))
                clock.ns = waiting.next_ns - 1
                deliver(database, clock)
                clock.ns += 1
        assert len(server.requests) == MAX_ATTEMPTS
        assert len({request.headers["webhook-id"] for request in server.requests}) == 1
        assert len({request.headers["webhook-signature"] for request in server.requests}) == MAX_ATTEMPTS
        assert waiting.state == "failed"
        server.answer = lambda _: (200, b"")
        assert retry(database, message, now_ns=clock.ns) == 1
        assert deliver(database, clock) == 1
    with pytest.raises(NotFoundError, match="waits or has failed"):
        retry(database, message, now_ns=clock.ns)


def test_pauses_grow_from_seconds_to_half_a_day_and_end_within_a_week() -> None:
    pauses = [pause_ns(attempt, 0) // SECOND_NS for attempt in range(1, MAX_ATTEMPTS)]
    assert pauses[:4] == [5, 20, 80, 320]
    assert pauses == sorted(pauses)
    assert 2 * 86_400 < sum(pauses) < 7 * 86_400
    assert pause_ns(1, 1.0) == 6 * SECOND_NS


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_who_answers_gone_is_asked_no_more(database: Database) -> None:
    with other_server(lambda _: (410, b"")) as server:
        add(database, server.url)
        tell(database)
        deliver(database, Clock())
    assert [each.state for each in list_deliveries(database)] == ["failed"]


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_an_endpoint_that_hangs_keeps_no_other_waiting(database: Database) -> None:
    arrived = threading.Event()

    def hang(_: object) -> tuple[int, bytes]:
        arrived.wait(20)
        return 200, b""

    def answer(_: object) -> tuple[int, bytes]:
        arrived.set()
        return 200, b""

    with other_server(hang) as slow, other_server(answer) as quick:
        for server in (slow, quick):
            add(database, server.url)
        tell(database)
        assert deliver(database, Clock()) == 2
    assert arrived.is_set()


def test_two_processes_do_not_send_the_same_message(database: Database) -> None:
    def while_sending(_: object) -> tuple[int, bytes]:
        assert deliver(database, Clock()) == 0
        return 200, b""

    with other_server(while_sending) as server:
        add(database, server.url)
        tell(database)
        assert deliver(database, Clock()) == 1
        assert len(server.requests) == 1


def test_what_a_killed_process_had_claimed_is_sent_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    clock = Clock()
    with other_server() as server:
        add(database, server.url)
        tell(database)
        with monkeypatch.context() as patched:
            patched.setattr(delivery, "_send", killed)
            with pytest.raises(Killed):
                deliver(database, clock)
        assert deliver(database, clock) == 0
        clock.ns += 60 * SECOND_NS
        assert deliver(database, clock) == 1


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_an_address_inside_is_never_called_and_the_reason_is_kept(database: Database) -> None:
    with other_server() as server:
        add(database, server.url)
        tell(database)
        deliver_due(database, PEPPER, allow_private=False, clock_ns=Clock())
        assert server.requests == []
    (waiting,) = list_deliveries(database)
    assert (waiting.state, waiting.status) == ("pending", None)
    assert "https://" in waiting.reason


def test_an_endpoint_that_was_removed_is_told_nothing_more(database: Database) -> None:
    with other_server() as server:
        endpoint, _ = add(database, server.url)
        message = tell(database)
        remove_endpoint(database, endpoint.id, now_ns=NOW_NS)
        tell(database, "INV-2")
        assert deliver(database, Clock()) == 0
        assert server.requests == []
    assert list_endpoints(database) == []
    with pytest.raises(NotFoundError):
        retry(database, message, now_ns=NOW_NS)
    with pytest.raises(NotFoundError):
        remove_endpoint(database, endpoint.id, now_ns=NOW_NS)


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_test_message_goes_to_one_endpoint_whatever_it_asks_for(database: Database) -> None:
    with other_server() as server:
        endpoint, _ = add(database, server.url, events=("key.revoked",))
        add(database, f"{server.url}/other")
        send_test(database, endpoint.id, now_ns=NOW_NS)
        assert deliver(database, Clock()) == 1
    assert json.loads(server.requests[0].body)["type"] == "webhook.test"


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_the_secret_is_not_in_the_database_and_opens_under_its_pepper_and_endpoint_alone(database: Database) -> None:
    endpoint, secret = add(database, "http://127.0.0.1:9/")
    with database.read() as connection:
        sealed = connection.scalar(sa.select(tables.webhook_endpoints.c.secret))
        assert sealed is not None
        everything = str(connection.execute(sa.select(tables.audit_log)).all())
    assert secret.encode() not in sealed
    assert secret not in everything
    assert open_secret(sealed, PEPPER, endpoint.id) == secret
    for pepper, endpoint_id in ((b"q" * 32, endpoint.id), (PEPPER, "whe_other")):
        with pytest.raises(AirserveError, match="cannot be read"):
            open_secret(sealed, pepper, endpoint_id)
    assert seal_secret(secret, PEPPER, endpoint.id) != seal_secret(secret, PEPPER, endpoint.id)


def test_the_signature_is_that_of_the_standard() -> None:
    # The example of the specification (standard-webhooks.md, "Signature scheme").
    secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    body = b'{"email":"test@example.com","username":"test_user"}'
    headers = signature_headers(secret, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, body)
    assert headers["webhook-signature"] == "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="


@pytest.mark.parametrize(
    ("url", "events", "error"),
    [
        ("http://example.com/", ["*"], InvalidInputError),
        ("https://example.com/", ["invoice.lost"], InvalidInputError),
        ("https://example.com/", [], InvalidInputError), ("https://10.0.0.1/", ["*"], ForbiddenError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_an_endpoint_that_cannot_be_is_refused(
    database: Database, url: str, events: list[str], error: type[AirserveError]
) -> None:
    with pytest.raises(error):
        add_endpoint(database, PEPPER, url, tenant_id=None, events=events, allow_private=False, now_ns=1)
    assert list_endpoints(database) == []


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_a_tenant_has_a_bounded_number_of_endpoints(database: Database) -> None:
    for number in range(MAX_ENDPOINTS):
        add(database, f"http://127.0.0.1:9/{number}")
    with pytest.raises(ConflictError, match="remove one"):
        add(database, "http://127.0.0.1:9/more")


@pytest.mark.parametrize("database_url", [None])  # the database is not the point here
def test_only_events_that_can_be_asked_for_are_announced(database: Database) -> None:
    with pytest.raises(ValueError, match="none of the events"):
        tell(database, type="invoice.lost")
