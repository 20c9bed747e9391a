"""A running service tells webhooks and the payment provider by itself, and only by what it is set to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from airserve.accounts import create_key, load_or_create_pepper, revoke_key
from airserve.accounts.tenant import find_tenant
from airserve.metering import set_price
from airserve.metering.payments.report import link_customer
from airserve.metering.payments.stripe import NAME
from airserve.metering.webhooks.endpoints import add_endpoint
from airserve.storage import Database
from tests.conftest import start_service
from tests.metering.other_server import other_server
from tests.metering.payments.test_payments import KEY, Ledger
from tests.server.wire import infer

pytestmark = pytest.mark.server


def test_a_running_service_delivers_webhooks_and_reports_usage(tmp_path: Path) -> None:
    ledger = Ledger()
    environment = {"AIRSERVE_WEBHOOKS_ALLOW_PRIVATE": "true", "AIRSERVE_PAYMENTS_KEY": KEY}
    with other_server() as hook, other_server(ledger) as provider:
        environment["AIRSERVE_PAYMENTS_URL"] = provider.url
        service = start_service(tmp_path / "state", environment=environment)
        database = Database.open(service.state_dir)
        try:
            pepper, now_ns, end = load_or_create_pepper(service.state_dir), time.time_ns(), time.monotonic() + 30
            with database.read() as connection:
                tenant = find_tenant(connection, "demo")
            _, secret = add_endpoint(
                database,
                pepper,
                hook.url,
                tenant_id=tenant.id,
                events=["key.revoked"],
                allow_private=True,
                now_ns=now_ns,
            )
            link_customer(database, NAME, tenant.id, "cus_acme", now_ns=now_ns)
            set_price(database, "*", per_call_nano=500, now_ns=now_ns)
            _, made = create_key(database, pepper, now_ns=now_ns, tenant="demo")
            revoke_key(database, made.id, now_ns=now_ns)
            document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
            while not ledger.events or not hook.requests:
                assert time.monotonic() < end
                assert infer(service, "digits", document).status == 200
                time.sleep(0.1)
        finally:
            database.close()
            assert service.stop() == 0
    told = Webhook(secret).verify(hook.requests[0].body, hook.requests[0].headers)
    assert (told["type"], told["data"]["id"]) == ("key.revoked", made.id)
    assert {fields["event_name"] for fields in ledger.events.values()} >= {"airserve_calls"}
    assert KEY not in (tmp_path / "state.log").read_text()
