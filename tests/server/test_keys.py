from __future__ import annotations

import json
import time
import uuid

import pytest

from tests.conftest import Service
from tests.server.wire import infer, send


def status_with(service: Service, key: str | None, model: str = "linear") -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    return send(service, f"/v2/models/{model}/infer", json.dumps(document).encode(), headers=headers).status


def wait_for(expected: int, service: Service, key: str, model: str = "linear") -> float:
    start = time.monotonic()
    while status_with(service, key, model) != expected:
        assert time.monotonic() - start < 10
        time.sleep(0.02)
    return time.monotonic() - start


def test_every_route_but_health_is_denied_without_a_key(service: Service) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert send(service, path, headers={}).status == 200
    for path in ("/v2", "/v2/models/linear", "/v2/models/linear/ready", "/metrics"):
        answer = send(service, path, headers={})
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert status_with(service, None) == 401


@pytest.mark.parametrize("key", ["", "nonsense", "as_live_" + "0" * 61, "as_live_" + "é" * 61])
def test_a_key_that_is_none_is_401(service: Service, key: str) -> None:
    answer = send(service, "/v2", headers={"authorization": f"Bearer {key}".encode().decode("latin-1")})
    assert answer.status == 401


def test_a_mistyped_key_is_told_apart_from_an_unknown_one(service: Service) -> None:
    swapped = service.key[:-1] + ("a" if service.key[-1] != "a" else "b")
    assert "mistyped" in send(service, "/v2", headers={"authorization": f"Bearer {swapped}"}).error


def test_another_authorization_scheme_is_401(service: Service) -> None:
    assert send(service, "/v2", headers={"authorization": "Basic YTpi"}).status == 401


def test_an_operators_key_opens_metrics_and_no_inference(service: Service) -> None:
    operator = str(service.ready["operator_key"])
    assert status_with(service, operator) == 403
    page = send(service, "/metrics", headers={"authorization": f"Bearer {operator}"})
    assert page.status == 200
    infer(service)
    text = send(service, "/metrics", headers={"authorization": f"Bearer {operator}"}).body.decode()
    assert 'nv_inference_request_success{model="linear",version="1"}' in text
    assert "tenant" not in text
    assert send(service, "/metrics").status == 403


def test_a_key_works_within_a_second_of_its_making_and_stops_within_one_of_its_end(service: Service) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    service.run("tenants", "create", tenant)
    made = service.run("keys", "create", tenant, "--models", "linear")
    wait_for(200, service, made["key"])
    assert status_with(service, made["key"], "failing") == 403
    service.run("keys", "revoke", made["id"])
    assert wait_for(401, service, made["key"]) < 2

    other = service.run("keys", "create", tenant)
    wait_for(200, service, other["key"])
    service.run("tenants", "suspend", tenant)
    wait_for(403, service, other["key"])
    service.run("tenants", "activate", tenant)
    wait_for(200, service, other["key"])


def test_a_price_set_while_running_holds_for_calls_from_then_on(service: Service) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    service.run("tenants", "create", tenant)
    key = service.run("keys", "create", tenant)["key"]
    wait_for(200, service, key, "linear")
    service.run("models", "price", "linear", "--per-call", "0.25", "--currency", "EUR")
    time.sleep(1.0)
    assert [status_with(service, key) for _ in range(3)] == [200] * 3
    rows = service.run("usage", "--tenant", tenant, "--model", "linear")
    amount = sum(row["amount_nano"] for row in rows)
    assert amount >= 3 * 250_000_000
    service.run("models", "price", "linear")
    time.sleep(0.6)
