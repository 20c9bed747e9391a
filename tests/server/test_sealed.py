"""Sealed calls to a real service, over every protocol; what must be refused is refused, and costs nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from airserve.accounts import Account, Principal
from airserve.accounts.terms import Hardening, Terms
from airserve.client import AsyncClient, Client
from airserve.client.exchange import HttpResponse
from airserve.client.sealing import SealedAttempt, SealedInfer, TrustOnFirstUseWarning
from airserve.codecs.sealed_key import KeyConfig, KeyDocument, public_text, verify
from airserve.codecs.sealed_message import MEDIA_TYPE, TENSOR
from airserve.core.errors import ForbiddenError, InvalidInputError, ModelFailedError, NotFoundError, SealedKeyError
from airserve.engines.options import IDENTITY
from airserve.engines.sealed_identity import load_or_create_identity
from airserve.metering.usage import usage as report
from airserve.server.apis.sealed import refuse_hardened
from airserve.storage import Database
from tests.conftest import AIRSERVE, Service, airserve
from tests.server.processes import family_of
from tests.server.wire import Answer, send
from tests.waiting import until

X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)


@pytest.fixture
def house(sealed_service: Service) -> Service:
    return sealed_service


@pytest.fixture
def identity(house: Service) -> str:
    return public_text(load_or_create_identity(house.state_dir / IDENTITY))


@pytest.fixture
def client(house: Service, identity: str) -> Iterator[Client]:
    with Client(house.url, house.key, sealed_identity=identity) as client:
        yield client


def key_of(house: Service, identity: str, model: str = "linear") -> KeyConfig:
    document = msgspec.json.decode(send(house, f"/sealed/{model}").body, type=KeyDocument)
    return verify(document.key, identity)


def seal(house: Service, identity: str, x: Any = X, *, model: str = "linear", call_id: str = "") -> SealedAttempt:
    return SealedInfer(model, {"x": x}, None, None, call_id).seal(key_of(house, identity, model), time.time_ns())


def post(house: Service, path: str, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(house, path, body, headers={**house.headers, "content-type": MEDIA_TYPE, **named})


def opened(attempt: SealedAttempt, answer: Answer) -> Any:
    return attempt.open(HttpResponse(answer.status, answer.headers, answer.body))["y"]


def usage(house: Service, model: str) -> dict[str, Any]:
    database = Database.open(house.state_dir)
    rows = [row for row in report(database) if row.model == model]
    database.close()
    return {name: sum(getattr(row, name) for row in rows) for name in ("ok", "failed", "rows", "amount_nano")}


def settled_usage(house: Service, model: str) -> dict[str, Any]:
    """The same once the calls before are in it: usage is folded once a second."""
    found, before = usage(house, model), {}
    while found != before:
        time.sleep(1.1)
        found, before = usage(house, model), found
    return found


@pytest.mark.parametrize("http", ["1.1", "2", "3"])
def test_a_sealed_call_goes_over_every_version_of_http(house: Service, identity: str, http: Any) -> None:
    with Client(house.ready["url"], house.key, ca=house.ready["ca"], http=http, sealed_identity=identity) as client:
        np.testing.assert_array_equal(client.infer("linear", {"x": X}, sealed=True)["y"], 2 * X)
        assert client.last is not None
        assert client.last.batch_rows == 2
        assert client.infer("text", {"x": ["a", "b"]}, outputs=["y"], sealed=True)["y"].tolist() == [b"a", b"b"]
        np.testing.assert_array_equal(client.infer("linear", {"x": X})["y"], 2 * X)


async def test_the_client_for_event_loops_seals_too(house: Service, identity: str) -> None:
    async with AsyncClient(house.url, house.key, sealed_identity=identity) as client:
        calls = [client.infer("linear", {"x": n * X}, sealed=True, timeout_ms=20_000) for n in range(20)]
        for n, outputs in enumerate(await asyncio.gather(*calls)):
            np.testing.assert_array_equal(outputs["y"], 2 * n * X)


@pytest.mark.parametrize("path", ["/v2/models/linear/infer", "/v2/models/linear/versions/1/infer", "/models/linear"])
def test_a_sealed_body_is_answered_by_a_sealed_one(house: Service, identity: str, path: str) -> None:
    attempt = seal(house, identity)
    answer = post(house, path, attempt.request.body)
    assert (answer.status, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert X.tobytes() not in answer.body
    assert (2 * X).tobytes() not in answer.body
    np.testing.assert_array_equal(opened(attempt, answer), 2 * X)


def grpc_infer(house: Service, model: str, body: bytes, *, call_id: str = "") -> Any:
    tensor = triton.InferInput(TENSOR, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([body], dtype=object))
    headers = {"x-api-key": house.key, **({"airserve-call-id": call_id} if call_id else {})}
    with triton.InferenceServerClient(house.url.removeprefix("http://")) as client:
        return client.infer(model, [tensor], headers=headers)


def test_a_sealed_call_goes_over_grpc(house: Service, identity: str) -> None:
    attempt = seal(house, identity, call_id="one")
    reply = bytes(grpc_infer(house, "linear", attempt.request.body, call_id="one").as_numpy(TENSOR)[0])
    np.testing.assert_array_equal(opened(attempt, Answer(200, {}, reply)), 2 * X)
    for body, model, said in ((attempt.request.body, "linear", "taken before"), (b"junk", "linear", "cannot be opened"),
                              (attempt.request.body, "open", "takes no sealed calls")):  # fmt: skip
        with pytest.raises(InferenceServerException, match=said):
            grpc_infer(house, model, body, call_id="one")


def test_what_is_refused_costs_nothing_and_what_is_answered_costs_by_its_rows(house: Service, identity: str) -> None:
    before = settled_usage(house, "linear")
    attempt = seal(house, identity)
    body = attempt.request.body
    assert post(house, "/v2/models/linear/infer", body).status == 200
    flipped = body[:-1] + bytes([body[-1] ^ 1])
    unknown = body[:1] + bytes(8) + body[9:]
    refusals = {
        "sealed_replay": [body, body],
        "unseal_failed": [flipped, body[:-1], body[:60], body[:20], b"", b"junk", b"\x02" + body[1:]],
        "sealed_key": [unknown],
    }
    for code, bodies in refusals.items():
        for each in bodies:
            answer = post(house, "/v2/models/linear/infer", each)
            assert (answer.status, json.loads(answer.body)["code"]) == (400, code), each[:80]
    assert len({post(house, "/models/linear", each).body for each in refusals["unseal_failed"]}) == 1
    late = SealedInfer("linear", {"x": X}, None, None, "").seal(key_of(house, identity), time.time_ns() - 61 * 10**9)
    answer = post(house, "/v2/models/linear/infer", late.request.body)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "sealed_clock")
    # By which the client can set its clock.
    assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 30
    after = settled_usage(house, "linear")
    assert (after["ok"] - before["ok"], after["rows"] - before["rows"]) == (1, 2)
    assert after["amount_nano"] - before["amount_nano"] == 500_000_000


def test_all_attempts_at_one_call_are_metered_once(house: Service, identity: str) -> None:
    call = SealedInfer("text", {"x": np.array([b"a"] * 3, object)}, None, None, uuid.uuid4().hex)
    before = settled_usage(house, "text")
    key = key_of(house, identity, "text")
    for _ in range(3):
        request = call.seal(key, time.time_ns()).request
        assert (
            post(house, "/models/text", request.body, airserve_call_id=call.request.headers["airserve-call-id"]).status
            == 200
        )
    other = seal(house, identity, np.array([b"b"], object), model="text")
    assert post(house, "/models/text", other.request.body).status == 200
    after = settled_usage(house, "text")
    assert (after["ok"] - before["ok"], after["rows"] - before["rows"]) == (2, 4)


def test_a_call_under_another_call_id_or_to_another_model_does_not_open(house: Service, identity: str) -> None:
    body = seal(house, identity, call_id="mine").request.body
    for path, call_id in (("/models/linear", "other"), ("/models/text", "mine")):
        assert post(house, path, body, airserve_call_id=call_id).status == 400
    assert post(house, "/models/linear", body, airserve_call_id="mine").status == 200


def test_the_reason_of_a_refusal_is_sealed(client: Client, house: Service, identity: str) -> None:
    with pytest.raises(InvalidInputError, match=r"shape \[1, 5\]; the model takes \[-1, 4\]"):
        client.infer("linear", {"x": np.ones((1, 5), np.float32)}, sealed=True)
    with pytest.raises(ModelFailedError, match="idx=987654"):
        client.infer("failing", {"i": np.array([987654])}, sealed=True)
    attempt = SealedInfer("failing", {"i": np.array([987654])}, None, None, "").seal(
        key_of(house, identity, "failing"), time.time_ns()
    )
    answer = post(house, "/v2/models/failing/infer", attempt.request.body)
    assert answer.status == 500
    assert b"987654" not in answer.body
    assert "987654" not in (house.state_dir.parent / "state.log").read_text()


def test_a_model_without_a_worker_takes_no_sealed_calls(client: Client, house: Service, identity: str) -> None:
    with pytest.raises(NotFoundError, match="publishes it with --sealed"):
        client.infer("open", {"x": X}, sealed=True)
    assert post(house, "/v2/models/open/infer", seal(house, identity).request.body).status == 415
    assert post(house, "/models/linear", seal(house, identity).request.body, content_encoding="gzip").status == 415
    assert send(house, "/sealed/linear", headers={}).status == 401
    assert send(house, "/sealed/nothing").status == 404
    assert send(house, "/sealed/linear", b"x").status == 405


def test_a_plan_that_rounds_or_cuts_outputs_takes_no_sealed_calls() -> None:
    for hardening in (Hardening(top_k=1), Hardening(decimals=2)):
        account = Account(None, Terms(hardening=hardening))
        with pytest.raises(ForbiddenError, match="rounds or cuts"):
            refuse_hardened(Principal("key", "tenant", None, account=account))
    refuse_hardened(Principal("key", "tenant", None))


def test_keys_of_another_identity_are_not_believed(house: Service, identity: str) -> None:
    other = base64.b64encode(bytes(32)).decode()
    with (
        Client(house.url, house.key, sealed_identity=other) as client,
        pytest.raises(SealedKeyError, match="not signed"),
    ):
        client.infer("linear", {"x": X}, sealed=True)
    warned = pytest.warns(TrustOnFirstUseWarning, match=identity.replace("+", r"\+"))
    with Client(house.url, house.key) as client, warned:
        client.infer("linear", {"x": X}, sealed=True)


def test_keys_that_turn_under_load_lose_no_call(house: Service, identity: str) -> None:
    done: list[int] = []
    failures: list[Exception] = []
    seen = set()
    end = time.monotonic() + 1.6

    def call() -> None:
        with Client(house.url, house.key, sealed_identity=identity, retries=0) as client:
            while time.monotonic() < end:
                try:
                    np.testing.assert_array_equal(client.infer("turning", {"x": X}, sealed=True)["y"], 2 * X)
                    done.append(1)
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        seen.add(key_of(house, identity, "turning").key_id)
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert not failures
    assert len(done) > 50
    assert len(seen) >= 4


def test_a_worker_that_is_killed_is_replaced_by_one_with_other_keys(client: Client, house: Service) -> None:
    def workers() -> set[int]:
        return {pid for pid in family_of(house.process.pid) if _runs_worker(pid)}

    client.infer("linear", {"x": X}, sealed=True)
    before = workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers() - before) == len(before))
    np.testing.assert_array_equal(client.infer("linear", {"x": X}, sealed=True, timeout_ms=20_000)["y"], 2 * X)


def _runs_worker(pid: int) -> bool:
    try:
        return b"airserve.engines.sealed_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_command_seals(house: Service, identity: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert house.run("sealed", "identity") == {"identity": identity}
    given = ["--state-dir", str(house.state_dir), "--sealed", "--sealed-identity", identity, "--json"]
    answer = airserve("predict", "linear", str(tmp_path / "x.npy"), *given)
    assert answer["outputs"]["y"] == (2 * X).tolist()


def test_a_model_in_python_is_not_published_sealed(tmp_path: Path) -> None:
    signature = "inputs = {'x': ('FP32', [-1])}\n    outputs = {'y': ('FP32', [-1])}"
    (tmp_path / "m.py").write_text(
        f"class Model:\n    {signature}\n    def predict(self, batch):\n        return batch\n"
    )
    command = [AIRSERVE, "publish", str(tmp_path / "m.py"), "--sealed", "--state-dir", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "[sealed] is for the engine 'onnx'" in done.stderr
