"""One call is run and billed once, however often and on whatever connection it is sent."""

from __future__ import annotations

import asyncio
import queue
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from airserve.accounts import Principal
from airserve.core.call import Call, Reply
from airserve.core.errors import DeadlineExceededError, OverloadedError
from airserve.metering.prices import set_price
from airserve.models.catalog import Catalog
from airserve.server.calls import Calls
from airserve.server.once import ToItsEnd, once
from airserve.serving.replays import Replays
from airserve.storage import Database
from tests.conftest import Service, start_service
from tests.models_for_tests import save_failing, save_linear, save_slow
from tests.server.test_limits import charged, customer
from tests.server.wire import Answer, infer, send
from tests.waiting import until

pytestmark = pytest.mark.server

SLOW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
SLOW_TEXT = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}'


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("once")
    database = Database.open(folder / "state")
    catalog = Catalog(database, folder / "state" / "store")
    for save, name in ((save_linear, "linear"), (save_slow, "slow"), (save_failing, "failing")):
        catalog.publish(save(folder / f"{name}.onnx"))
    set_price(database, "*", per_call_nano=1000, now_ns=time.time_ns())
    database.close()
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def runs(service: Service, model: str) -> int:
    """How often the model has run."""
    stats = httpx.get(f"{service.url}/v2/models/{model}/stats", headers=service.headers).json()
    return int(stats["model_stats"][0]["execution_count"])


def was_replayed(answer: Answer) -> bool:
    return answer.headers.get("airserve-replayed") == "true"


def test_a_call_whose_client_has_gone_runs_to_its_end_and_the_next_attempt_finds_its_answer(priced: Service) -> None:
    tenant = customer(priced)
    address = urlsplit(priced.url)
    assert address.hostname
    assert address.port
    head = (
        f"POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\n"
        f"airserve-call-id: tunnel\r\ncontent-length: {len(SLOW_TEXT)}\r\n\r\n"
    )
    with ThreadPoolExecutor(25) as threads:
        # They keep the model busy, so that the call is still waiting when its client goes.
        others = [threads.submit(infer, priced, "slow", SLOW) for _ in range(25)]
        lost = socket.create_connection((address.hostname, address.port))
        lost.sendall(head.encode() + SLOW_TEXT)
        time.sleep(0.2)
        lost.close()
        with httpx.Client(http2=True, base_url=priced.url) as elsewhere:
            again = elsewhere.post(
                "/v2/models/slow/infer", content=SLOW_TEXT, headers={**tenant.headers, "airserve-call-id": "tunnel"}
            )
        assert [each.result().status for each in others] == [200] * 25
    assert again.status_code == 200
    assert again.json()["outputs"][0]["data"] == [1]
    assert again.headers["airserve-replayed"] == "true"
    assert "compute;dur=0.000" in again.headers["server-timing"]
    assert charged(tenant) == (1, 1000)


def test_attempts_at_once_are_one_run_and_each_gets_its_answer(priced: Service) -> None:
    tenant = customer(priced)
    before = runs(priced, "slow")
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: infer(tenant, "slow", SLOW, Airserve_Call_Id="burst"), range(16)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert sum(map(was_replayed, answers)) == 15
    assert runs(priced, "slow") == before + 1
    assert charged(tenant) == (1, 1000)


def test_a_call_without_an_id_is_a_call_of_its_own_and_so_is_another_body_model_or_tenant(priced: Service) -> None:
    one, two = customer(priced), customer(priced)
    assert not any(was_replayed(infer(one)) for _ in range(2))
    other = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [5, 6, 7, 8]}]}
    answers = [infer(one, Airserve_Call_Id="i"), infer(one, document=other, Airserve_Call_Id="i")]
    answers += [infer(one, "slow", SLOW, Airserve_Call_Id="i"), infer(two, Airserve_Call_Id="i")]
    assert [answer.status for answer in answers] == [200] * 4
    assert not any(map(was_replayed, answers))
    assert was_replayed(infer(one, Airserve_Call_Id="i"))
    assert (charged(one), charged(two)) == ((5, 5000), (1, 1000))


def test_a_project_gets_nothing_of_another_s_calls_nor_for_what_it_paid(priced: Service) -> None:
    one = customer(priced)
    tenant = one.ready["tenant"]
    priced.run("projects", "create", tenant, "aside")
    key = str(priced.run("keys", "create", tenant, "--project", "aside")["key"])
    aside = Service(priced.process, {**one.ready, "key": key}, priced.state_dir)
    until(lambda: send(aside, "/v2/models/linear").status == 200)
    answers = [infer(each, Airserve_Call_Id="shared") for each in (one, aside, one, aside)]
    assert [was_replayed(answer) for answer in answers] == [False, False, True, True]
    assert charged(one) == (2, 2000)


def test_no_two_calls_come_to_one_id_by_where_their_parts_end() -> None:
    principal = Principal("key", "ten_a", None, project_id="p")
    ids = {
        Calls.event_id(principal, "m", "idempotency:a", b"b:cc"),
        Calls.event_id(principal, "m", "idempotency:a:b", b"cc"),
        Calls.event_id(principal, "m:idempotency", "a", b"b:cc"),
        Calls.event_id(replace(principal, project_id=""), "m", "idempotency:a", b"b:cc"),
    }
    assert len(ids) == 4
    assert Calls.event_id(principal, "m", "x", b"y") == Calls.event_id(principal, "m", "x", b"y")


def test_a_failure_is_not_remembered(priced: Service) -> None:
    tenant = customer(priced)
    bad = {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [9]}]}
    failed = [infer(tenant, "failing", bad, Airserve_Call_Id="f") for _ in range(2)]
    assert [answer.status for answer in failed] == [500, 500]
    late = infer(tenant, "slow", SLOW, Airserve_Call_Id="l", Airserve_Timeout_Ms="0.01")
    assert late.status in (503, 504)
    assert infer(tenant, "slow", SLOW, Airserve_Call_Id="l").status == 200
    assert charged(tenant) == (1, 1000)


def a_call(seconds: float) -> Call:
    return Call("c", "m", {}, 1, time.monotonic_ns() + int(seconds * 1e9), "t")


async def test_an_attempt_waits_no_longer_than_its_own_deadline() -> None:
    replays, futures = Replays(10**6, 10**10), []

    async def run(future: ToItsEnd) -> Reply:
        futures.append(future)
        return await future

    first = asyncio.create_task(once(replays, a_call(30), run))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceededError, match="ask again with the same call id"):
        await once(replays, a_call(0.02), run)
    futures[0].set_result(Reply("m", "1", {}))
    assert (await first)[1] is False
    assert (await once(replays, a_call(30), run))[1] is True
    assert len(futures) == 1


async def test_who_waits_for_an_attempt_that_fails_runs_the_call_itself() -> None:
    replays, futures = Replays(10**6, 10**10), []

    async def run(future: ToItsEnd) -> Reply:
        futures.append(future)
        return await future

    first, second, third = (asyncio.create_task(once(replays, a_call(30), run)) for _ in range(3))
    await asyncio.sleep(0)
    futures[0].set_exception(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await first
    while len(futures) < 2:
        await asyncio.sleep(0)
    futures[1].set_result(Reply("m", "1", {}))
    assert sorted([(await second)[1], (await third)[1]]) == [False, True]
    assert len(futures) == 2


async def test_a_cancelled_attempt_ends_with_its_reply_kept_and_then_is_cancelled() -> None:
    replays, futures = Replays(10**6, 10**10), []

    async def run(future: ToItsEnd) -> Reply:
        futures.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            return future.reply_after_all()

    gone = asyncio.create_task(once(replays, a_call(30), run))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.01)
    assert not gone.done()
    futures[0].set_result(Reply("m", "1", {}))
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (await once(replays, a_call(30), run))[1] is True


def test_it_is_the_same_over_grpc_and_on_streams(priced: Service) -> None:
    tenant = customer(priced)
    before = runs(priced, "linear")
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(np.ones((1, 4), np.float32))
    headers = {"authorization": f"Bearer {tenant.key}", "airserve-call-id": "g"}
    replayed = []
    for _ in range(2):
        # A connection for each attempt.
        with triton.InferenceServerClient(urlsplit(priced.url).netloc) as client:
            answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
            client.start_stream(lambda result, error, to=answers: to.put((result, error)), headers=headers)
            client.async_stream_infer("linear", [x])
            result, error = answers.get(timeout=30)
            client.stop_stream()
            assert error is None, error
            assert result.as_numpy("y").tolist() == [[2, 2, 2, 2]]
            replayed.append("airserve_replayed" in result.get_response().parameters)
    assert replayed == [False, True]
    assert runs(priced, "linear") == before + 1
    assert charged(tenant) == (1, 1000)


def test_a_replay_is_told_to_who_calls_with_grpc(priced: Service) -> None:
    tenant = customer(priced)
    message = triton.service_pb2.ModelInferRequest(model_name="linear")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    message.raw_input_contents.append(np.ones(4, np.float32).tobytes())
    metadata = [("authorization", f"Bearer {tenant.key}"), ("airserve-call-id", "u")]
    with triton.InferenceServerClient(urlsplit(priced.url).netloc) as client:
        told = [client._client_stub.ModelInfer.with_call(message, metadata=metadata) for _ in range(2)]
    assert told[0][0].raw_output_contents == told[1][0].raw_output_contents
    assert [dict(call.initial_metadata()).get("airserve-replayed") for _, call in told] == [None, "true"]


def test_a_replay_takes_nothing_from_limits_and_needs_a_key_that_works(priced: Service) -> None:
    tenant = customer(priced)
    assert infer(tenant, Airserve_Call_Id="k").status == 200
    stranger = send(
        priced, "/v2/models/linear/infer", b"{}", headers={"authorization": "Bearer as_live_x", "airserve-call-id": "k"}
    )
    assert stranger.status == 401
