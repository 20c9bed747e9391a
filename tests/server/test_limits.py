"""Limits, budgets and Idempotency-Key as a customer meets them: a real server, real plans, every protocol."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import openai
import pytest
import sqlalchemy as sa
import tritonclient.grpc as triton

from airserve.accounts import create_key, create_tenant, load_or_create_pepper
from airserve.accounts.budgets import set_budget
from airserve.accounts.plans import insert_plan
from airserve.accounts.subscriptions import subscribe
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod, Limits, Terms
from airserve.client import Client
from airserve.core.errors import AirserveError
from airserve.metering.ledger import fold
from airserve.metering.prices import set_price
from airserve.models.catalog import Catalog
from airserve.storage import Database, tables
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear, save_slow
from tests.openai_for_tests import Upstream, upstream_server
from tests.server.wire import infer, send

pytestmark = pytest.mark.server

TERMS = Terms(limits=Limits(calls_per_minute=4, tokens_per_minute=1000, concurrency=8), priority=1, share=2)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as running:
        yield running


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("limits")
    state = folder / "state"

    options = ("--state-dir", str(state), "--json")
    airserve("import", "openai", upstream.url, "--name", "words", "--model", "m", "--publish", *options)
    database = Database.open(state)
    publish(database, state, {"linear": save_linear(folder / "linear.onnx"), "slow": save_slow(folder / "slow.onnx")})
    with database.write() as connection:
        insert_plan(connection, "small", "Small", TERMS, now_ns=time.time_ns())
    database.close()
    running = start_service(state, "--no-demo")
    yield running
    assert running.stop() == 0


_numbers = count()
CENT = 10_000_000


def publish(database: Database, state: Path, models: dict[str, Path]) -> None:
    for name, path in models.items():
        Catalog(database, state / "store").publish(path, name=name, alias="prod")
    set_price(database, "*", per_call_nano=CENT, now_ns=time.time_ns())


def bound(database: Database, tenant: str, cents: int, mode: BudgetMode) -> None:
    set_budget(database, tenant, Budget(cents * CENT, BudgetPeriod.MONTH, mode), now_ns=time.time_ns())


def customer(
    service: Service, plan: str | None = None, cents: int | None = None, mode: BudgetMode = BudgetMode.HARD
) -> Service:
    """The same service, as a new tenant calls it."""
    name, now_ns = f"tenant-{next(_numbers)}", time.time_ns()
    database = Database.open(service.state_dir)
    create_tenant(database, name, now_ns=now_ns)
    if plan is not None:
        subscribe(database, name, plan, now_ns=now_ns)
    if cents is not None:
        bound(database, name, cents, mode)
    key, _ = create_key(database, load_or_create_pepper(service.state_dir), now_ns=now_ns, tenant=name)
    database.close()
    seen = Service(service.process, {**service.ready, "key": key, "tenant": name}, service.state_dir)
    end = time.monotonic() + 10
    while send(seen, "/v2/models/linear").status != 200:
        assert time.monotonic() < end
    return seen


def charged(service: Service) -> tuple[int, int]:
    """Answered calls and nano-units of a tenant, once the ledger has them."""
    columns = tables.usage_events.c
    query = sa.select(columns.amount_nano).join(tables.tenants, tables.tenants.c.id == columns.tenant_id)
    database = Database.open(service.state_dir)
    fold(database, service.state_dir / "journal")
    with database.read() as connection:
        amounts = connection.scalars(
            query.where(tables.tenants.c.name == service.ready["tenant"], columns.amount_nano > 0)
        ).all()
    database.close()
    return len(amounts), sum(amounts)


def test_limits_are_told_with_every_answer_and_refuse_with_the_exact_time_to_come_back(limited: Service) -> None:
    tenant = customer(limited, "small")
    answers = [infer(tenant) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 4 + [429]
    assert answers[0].headers["ratelimit-policy"] == '"calls-minute";q=4;w=60, "tokens-minute";q=1000;w=60;qu="tokens"'
    assert answers[0].headers["ratelimit"] == '"calls-minute";r=3;t=15'
    refused = answers[4]
    assert refused.headers["ratelimit"].startswith('"calls-minute";r=0;t=')
    assert 14 <= int(refused.headers["retry-after"]) <= 15
    assert refused.headers["ratelimit"].endswith(f"t={refused.headers['retry-after']}")
    assert "4 calls a minute" in refused.error
    assert "x-ratelimit-limit-requests" not in refused.headers
    # A tenant without limits hears of none, and is held up by none.
    free = customer(limited)
    assert all("ratelimit" not in infer(free).headers for _ in range(6))


def test_openai_clients_read_limits_in_their_own_words(limited: Service) -> None:
    tenant = customer(limited, "small")
    client = openai.OpenAI(base_url=f"{tenant.url}/v1", api_key=tenant.key, max_retries=0)
    raw = client.chat.completions.with_raw_response.create(
        model="words", messages=[{"role": "user", "content": "hi"}], max_tokens=10
    )
    assert raw.headers["x-ratelimit-limit-requests"] == "4"
    assert raw.headers["x-ratelimit-remaining-requests"] == "3"
    assert raw.headers["x-ratelimit-limit-tokens"] == "1000"
    # What was used counts, not what was set aside for it.
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) > 950
    with pytest.raises(openai.RateLimitError, match="tokens a minute") as refused:
        for _ in range(4):
            client.chat.completions.create(
                model="words", messages=[{"role": "user", "content": "a " * 600}], max_tokens=10, n=1
            )
    assert refused.value.response.headers["x-should-retry"] == "true"
    client.close()


def test_the_same_limits_hold_over_grpc(limited: Service) -> None:
    tenant = customer(limited, "small")
    stub, request = _grpc(tenant)
    calls = [stub(request, metadata=[("authorization", f"Bearer {tenant.key}")]) for _ in range(1)]
    _, call = stub.with_call(request, metadata=[("authorization", f"Bearer {tenant.key}")])
    assert dict(call.initial_metadata())["ratelimit"] == '"calls-minute";r=2;t=30'
    with pytest.raises(grpc.RpcError) as refused:
        for _ in range(4):
            stub(request, metadata=[("authorization", f"Bearer {tenant.key}")])
    assert calls
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers = dict(refused.value.trailing_metadata())
    assert trailers["airserve-code"] == "rate_limited"
    assert 14 <= int(trailers["retry-after"]) <= 15


@pytest.mark.parametrize("mode", [BudgetMode.HARD, BudgetMode.STRICT])
def test_a_budget_ends_with_402_in_every_protocol_and_no_nano_later(limited: Service, mode: BudgetMode) -> None:
    tenant = customer(limited, cents=3, mode=mode)
    assert [infer(tenant).status for _ in range(4)] == [200, 200, 200, 402]
    refused = infer(tenant)
    assert refused.headers["x-should-retry"] == "false"
    assert "budget of this account" in refused.error
    client = openai.OpenAI(base_url=f"{tenant.url}/v1", api_key=tenant.key, max_retries=5)
    with pytest.raises(openai.APIStatusError) as broke:
        client.chat.completions.create(model="words", messages=[{"role": "user", "content": "hi"}])
    assert broke.value.code == "insufficient_quota"
    client.close()
    stub, request = _grpc(tenant)
    with pytest.raises(grpc.RpcError) as over_grpc:
        stub(request, metadata=[("authorization", f"Bearer {tenant.key}")])
    assert dict(over_grpc.value.trailing_metadata())["airserve-code"] == "budget_exhausted"
    assert charged(tenant) == (3, 30_000_000)
    # More budget, and it goes on.
    database = Database.open(limited.state_dir)
    bound(database, tenant.ready["tenant"], 4, mode)
    database.close()
    end = time.monotonic() + 5
    while infer(tenant).status != 200:
        assert time.monotonic() < end


def test_the_metrics_page_says_what_was_charged_and_kept_out_by_model_and_never_by_tenant(limited: Service) -> None:
    def figures() -> dict[str, float]:
        page = send(limited, "/metrics", headers={"authorization": f"Bearer {limited.ready['operator_key']}"}).body
        lines = [line.rpartition(" ") for line in page.decode().splitlines() if not line.startswith("#")]
        return {
            name: float(value) for name, _, value in lines if name.startswith(("airserve_charged", "airserve_refusals"))
        }

    tenant = customer(limited, cents=2)
    before = figures()
    assert [infer(tenant).status for _ in range(5)] == [200, 200, 402, 402, 402]
    after = figures()
    grown = {name: round(value - before.get(name, 0), 9) for name, value in after.items() if value != before.get(name)}
    labels = 'model="linear",version="1"'
    assert grown == {
        f'airserve_charged_total{{currency="EUR",{labels}}}': 0.02,
        'airserve_refusals_total{model="linear",reason="budget_exhausted",version="1"}': 3,
    }


def test_a_soft_budget_warns_and_counts_on(limited: Service) -> None:
    tenant = customer(limited, cents=1, mode=BudgetMode.SOFT)
    answers = [infer(tenant) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[2].headers["airserve-budget-warning"] == '"month budget of this account"'


def test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once(limited: Service) -> None:
    tenant = customer(limited)
    first = infer(tenant, Idempotency_Key="order-1")
    again = infer(tenant, Idempotency_Key='"order-1"')
    assert first.status == again.status == 200
    assert again.body == first.body
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [9, 9, 9, 9]}]}
    assert infer(tenant, document=other, Idempotency_Key="order-1").status == 422
    assert infer(tenant, Idempotency_Key="x" * 256).status == 400
    # Another tenant's key of the same name is another key.
    assert infer(customer(limited), document=other, Idempotency_Key="order-1").status == 200
    plain = [
        send(tenant, "/models/linear", b"[[1, 2, 3, 4]]", headers={
            **tenant.headers, "content-type": "application/json", "idempotency-key": "plain-1",
        })
        for _ in range(2)
    ]  # fmt: skip
    assert plain[0].body == plain[1].body
    assert plain[1].headers["idempotent-replayed"] == "true"
    assert charged(tenant) == (2, 20_000_000)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_what_is_no_idempotency_key_or_two_of_them_is_refused(limited: Service, version: str) -> None:
    tenant = customer(limited)
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    with httpx.Client(base_url=tenant.url, http1=version == "1.1", http2=version == "2") as client:
        for keys in ([b""], [b"x" * 256], [b'a"b'], [b"\xc3\xa4"], [b"one", b"two"], [b"one", b"one"]):
            headers = [*tenant.headers.items(), *[(b"idempotency-key", key) for key in keys]]
            answer = client.post("/v2/models/linear/infer", json=document, headers=headers)  # type: ignore[arg-type]
            assert (answer.status_code, "Idempotency-Key is" in answer.text) == (400, True), keys
    stub, request = _grpc(tenant)
    metadata = [("authorization", f"Bearer {tenant.key}"), ("idempotency-key", "one"), ("idempotency-key", "two")]
    with pytest.raises(grpc.RpcError, match="Idempotency-Key is"):
        stub.with_call(request, metadata=metadata)
    assert charged(tenant) == (0, 0)


def test_a_hundred_attempts_at_once_are_one_call(limited: Service) -> None:
    tenant = customer(limited)
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: infer(tenant, "slow", SLOW, Idempotency_Key="one"), range(100)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 409}
    assert statuses.count(200) >= 1
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    waiting = [answer for answer in answers if answer.status == 409]
    assert waiting
    assert all(answer.headers["retry-after"] == "1" for answer in waiting)
    assert charged(tenant) == (1, 10_000_000)


def test_a_stream_is_replayed_whole_and_over_grpc_it_is_the_same(limited: Service, upstream: Upstream) -> None:
    tenant = customer(limited)
    body = json.dumps(
        {"model": "words", "messages": [{"role": "user", "content": "tell"}], "stream": True, "max_tokens": 9}
    ).encode()
    headers = {**tenant.headers, "content-type": "application/json", "idempotency-key": "tale"}
    before = len(upstream.requests)
    first, again = (send(tenant, "/v1/chat/completions", body, headers=headers) for _ in range(2))
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert again.body == first.body
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len(upstream.requests) == before + 1
    stub, request = _grpc(tenant)
    metadata = [("authorization", f"Bearer {tenant.key}"), ("idempotency-key", "remote")]
    one, _ = stub.with_call(request, metadata=metadata)
    two, call = stub.with_call(request, metadata=metadata)
    assert one == two
    assert dict(call.initial_metadata())["idempotent-replayed"] == "true"
    assert charged(tenant)[0] == 2


def test_a_client_whose_link_broke_finds_its_answer(limited: Service) -> None:
    tenant = customer(limited)
    client = openai.OpenAI(base_url=f"{tenant.url}/v1", api_key=tenant.key, max_retries=0)
    ask: dict[str, Any] = {"model": "words", "messages": [{"role": "user", "content": "tell"}], "stream": True}
    stream = client.chat.completions.create(**ask, extra_headers={"idempotency-key": "train"})
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 10
    while True:
        try:
            raw = client.chat.completions.with_raw_response.create(**ask, extra_headers={"idempotency-key": "train"})
            break
        except openai.ConflictError:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert raw.headers["idempotent-replayed"] == "true"
    client.close()
    assert charged(tenant) == (1, 10_000_000)


def test_a_call_under_a_key_goes_on_when_its_client_has_gone(limited: Service) -> None:
    tenant = customer(limited)
    body = json.dumps(SLOW).encode()
    head = (
        f"POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\n"
        f"idempotency-key: gone\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with ThreadPoolExecutor(6) as threads:
        # Others keep the model busy, so that the server has time to notice.
        busy = [threads.submit(infer, tenant, "slow", SLOW) for _ in range(6)]
        time.sleep(0.05)
        address = urlsplit(tenant.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head.encode() + body)
            time.sleep(0.1)
        assert all(each.result().status == 200 for each in busy)
    end = time.monotonic() + 10
    while (answer := infer(tenant, "slow", SLOW, Idempotency_Key="gone")).status == 409:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert answer.headers["idempotent-replayed"] == "true"
    assert charged(tenant)[0] == 7


def test_a_failure_frees_its_key(limited: Service) -> None:
    tenant = customer(limited)
    late = infer(tenant, "slow", SLOW, Idempotency_Key="late", Airserve_Timeout_Ms="1")
    assert late.status >= 500
    assert infer(tenant, "slow", SLOW, Idempotency_Key="late").status == 200


def test_after_a_crash_the_retry_is_answered_and_billed_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    database = Database.open(state)
    publish(database, state, {"linear": save_linear(tmp_path / "linear.onnx")})
    database.close()
    service = start_service(state, "--no-demo")
    tenant = customer(service, cents=2, mode=BudgetMode.STRICT)
    assert infer(tenant, Idempotency_Key="first").status == 200
    # As if it had died between the record of the call and its answer: the key is claimed, the call is in the journal.
    database = Database.open(state)
    with database.write(announce=False) as connection:
        assert connection.execute(sa.update(tables.idempotent_answers).values(state="open", body=None)).rowcount == 1
    database.close()
    os.kill(service.ready["pid"], signal.SIGKILL)
    service.process.wait(30)
    second = start_service(state, "--no-demo")
    again = Service(second.process, {**second.ready, "key": tenant.key, "tenant": tenant.ready["tenant"]}, state)
    assert infer(again, Idempotency_Key="first").status == 200
    assert charged(again) == (1, 10_000_000)
    # What the retry had set aside is free again once it is known that it costs nothing: when it has been folded.
    end = time.monotonic() + 10
    while infer(again).status != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert infer(again).status == 402
    assert charged(again) == (2, 20_000_000)
    assert second.stop() == 0


SLOW: Any = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}


def _grpc(service: Service) -> tuple[Any, Any]:
    channel = grpc.insecure_channel(service.url.removeprefix("http://"))
    stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(np.ones((1, 4), np.float32))
    request = triton.service_pb2.ModelInferRequest(model_name="linear")
    request.inputs.extend([x._get_tensor()])
    request.raw_input_contents.extend([x._get_content()])
    return stub.ModelInfer, request


def test_the_client_says_its_key_on_every_kind_of_call(limited: Service) -> None:
    tenant = customer(limited)
    x = {"x": np.ones((1, 4), np.float32)}
    with Client(tenant.url, tenant.key) as client:
        first, again = (client.infer("linear", x, idempotency_key="c-1")["y"] for _ in range(2))
        assert np.array_equal(first, again)
        replies = [client.chat("words", "hi", idempotency_key="c-2").text for _ in range(2)]
        assert replies[0] == replies[1]
        with pytest.raises(AirserveError, match="came before with another request") as reused:
            client.chat("words", "something else", idempotency_key="c-2")
        assert reused.value.code == "idempotency_key_reused"
    assert charged(tenant)[0] == 2
