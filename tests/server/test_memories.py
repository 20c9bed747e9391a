"""Inputs by their digests, and answers of deterministic models from the cache, as clients meet them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import sqlalchemy as sa
import tritonclient.grpc as triton

from airserve.accounts.plans import insert_plan
from airserve.accounts.terms import Hardening, Limits, Terms
from airserve.codecs.frame import encode
from airserve.metering.ledger import fold
from airserve.metering.prices import set_price
from airserve.storage import Database, tables
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear
from tests.server.test_limits import charged, customer
from tests.server.test_once import runs
from tests.server.wire import Answer, infer, send

pytestmark = pytest.mark.server

X = np.arange(4, dtype=np.float32)


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`linear` is deterministic, `plain` does not say so. A call costs 1000 nano, a computed second 1 whole."""
    folder = tmp_path_factory.mktemp("memories")
    options = ("--state-dir", str(folder / "state"), "--json")
    path = str(save_linear(folder / "linear.onnx", 1 / 3))
    airserve("publish", path, "--deterministic", *options)
    airserve("publish", path, "--name", "plain", *options)
    database = Database.open(folder / "state")
    now_ns = time.time_ns()
    set_price(database, "*", per_call_nano=1000, per_compute_second_nano=10**9, now_ns=now_ns)
    with database.write() as connection:
        insert_plan(connection, "few", "Few", Terms(limits=Limits(calls_per_minute=3)), now_ns=now_ns)
        insert_plan(connection, "rounded", "Rounded", Terms(hardening=Hardening(decimals=1)), now_ns=now_ns)
    database.close()
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def ask(
    service: Service, raw: bytes | None, model: str = "linear", codec: str | None = None, **parameters: object
) -> Answer:
    """A call of the tensor whose raw bytes (or frame) are `raw`, None for one that is named alone."""
    size = {} if raw is None else {"binary_data_size": len(raw)}
    coded = {} if codec is None else {"codec": codec}
    given = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {**size, **coded, **parameters}}
    document = json.dumps({"inputs": [given]}).encode()
    headers = {**service.headers, "inference-header-content-length": str(len(document))}
    return send(service, f"/v2/models/{model}/infer", document + (raw or b""), headers=headers)


def output(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.body
    return list(json.loads(answer.body)["outputs"][0]["data"])


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("codec", [None, "fp32+zstd"])
def test_an_input_that_was_sent_lately_need_not_be_sent_again(remembering: Service, codec: str | None) -> None:
    tenant = customer(remembering)
    raw = X.tobytes() if codec is None else encode(X.reshape(1, 4), codec)
    digest = digest_of(raw)
    unknown = ask(tenant, None, "plain", codec, digest=digest)
    assert (unknown.status, json.loads(unknown.body)["code"]) == (409, "input_not_held")
    first = ask(tenant, raw, "plain", codec, digest=digest)
    again = ask(tenant, None, "plain", codec, digest=digest)
    assert output(first) == output(again) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    # What came is what is counted: the second call brought the digest alone.
    columns = tables.usage_events.c
    database = Database.open(remembering.state_dir)
    fold(database, remembering.state_dir / "journal")
    with database.read() as connection:
        query = sa.select(columns.bytes_in).join(tables.tenants, tables.tenants.c.id == columns.tenant_id)
        sizes = connection.scalars(
            query.where(tables.tenants.c.name == tenant.ready["tenant"]).order_by(columns.admitted_ns)
        ).all()
    database.close()
    assert sizes[0] - sizes[1] == len(raw) + len(f', "binary_data_size": {len(raw)}')


def test_nobody_reaches_what_another_tenant_sent(remembering: Service) -> None:
    one, two, digest = customer(remembering), customer(remembering), digest_of(X.tobytes())
    output(ask(one, X.tobytes(), digest=digest))
    assert ask(two, None, digest=digest).status == 409
    assert ask(one, None, digest=digest).status == 200


def test_what_is_no_digest_or_that_of_other_bytes_is_refused_and_not_held(remembering: Service) -> None:
    tenant = customer(remembering)
    wrong = digest_of(b"another")
    assert "is not the SHA-256 of its raw bytes" in ask(tenant, X.tobytes(), digest=wrong).error
    assert ask(tenant, None, digest=wrong).status == 409
    for digest in ("", "abc", wrong.upper(), 7):
        answer = ask(tenant, X.tobytes(), digest=digest)
        assert (answer.status, "64 hexadecimal digits" in answer.error) == (400, True)
    in_json = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4],
                           "parameters": {"digest": wrong}}]}  # fmt: skip
    assert "is of raw bytes" in infer(tenant, document=in_json).error
    # A digest opens no other shape than its bytes have.
    output(ask(tenant, X.tobytes(), digest=digest_of(X.tobytes())))
    document = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4],
                                       "parameters": {"digest": digest_of(X.tobytes())}}]}).encode()  # fmt: skip
    headers = {**tenant.headers, "inference-header-content-length": str(len(document))}
    assert send(tenant, "/v2/models/linear/infer", document, headers=headers).status == 400


def test_digests_are_the_same_over_grpc(remembering: Service) -> None:
    tenant = customer(remembering)
    digest = digest_of(X.tobytes())

    def message(raw: bytes | None) -> Any:
        made = triton.service_pb2.ModelInferRequest(model_name="plain")
        made.inputs.add(name="x", datatype="FP32", shape=[1, 4]).parameters["digest"].string_param = digest
        made.raw_input_contents.extend([] if raw is None else [raw])
        return made

    metadata = [("authorization", f"Bearer {tenant.key}")]
    with triton.InferenceServerClient(urlsplit(remembering.url).netloc) as client:
        call = client._client_stub.ModelInfer.with_call
        with pytest.raises(grpc.RpcError, match="send its data") as refused:
            call(message(None), metadata=metadata)
        assert dict(refused.value.trailing_metadata())["airserve-code"] == "input_not_held"
        told = [call(message(raw), metadata=metadata)[0] for raw in (X.tobytes(), None, b"")]
    assert [each.raw_output_contents[0] for each in told] == [told[0].raw_output_contents[0]] * 3
    # What came over gRPC is held for REST too.
    assert ask(tenant, None, digest=digest).status == 200


def test_the_same_asked_again_is_answered_from_memory_and_charged_without_time(remembering: Service) -> None:
    tenant = customer(remembering)
    before = runs(remembering, "linear")
    answers = [infer(tenant) for _ in range(3)]
    assert [answer.headers.get("airserve-cache") for answer in answers] == [None, "hit", "hit"]
    assert len({answer.body for answer in answers}) == 1
    assert "compute;dur=0.000" in answers[1].headers["server-timing"]
    assert runs(remembering, "linear") == before + 1
    calls, nano = charged(tenant)
    assert calls == 3
    # Three calls, and the time that one of them computed.
    assert nano > 3000
    other = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 5]}]}
    assert "airserve-cache" not in infer(tenant, document=other).headers


def test_no_tenant_sees_what_another_asked_nor_how_fast(remembering: Service) -> None:
    one, two = customer(remembering), customer(remembering)
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [9, 8, 7, 6]}]}
    assert "airserve-cache" not in infer(one, document=document).headers
    assert infer(one, document=document).headers["airserve-cache"] == "hit"
    before = runs(remembering, "linear")
    theirs = infer(two, document=document)
    assert "airserve-cache" not in theirs.headers
    assert theirs.headers["airserve-batch-rows"] != "0"
    assert "compute;dur=0.000" not in theirs.headers["server-timing"]
    assert runs(remembering, "linear") == before + 1


def test_a_model_that_does_not_say_that_it_is_deterministic_runs_each_time(remembering: Service) -> None:
    tenant = customer(remembering)
    assert not any("airserve-cache" in infer(tenant, "plain").headers for _ in range(3))


def test_an_answer_from_memory_counts_against_limits(remembering: Service) -> None:
    tenant = customer(remembering, "few")
    assert [infer(tenant).status for _ in range(4)] == [200, 200, 200, 429]


def test_an_answer_is_kept_as_the_plan_gives_it(remembering: Service) -> None:
    rounded, exact = customer(remembering, "rounded"), customer(remembering)
    for _ in range(2):
        assert output(infer(rounded)) == pytest.approx([0.3, 0.7, 1.0, 1.3])
        assert output(infer(exact)) == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3])


def test_a_new_version_answers_for_itself(remembering: Service) -> None:
    tenant = customer(remembering)
    assert output(infer(tenant))[0] == pytest.approx(1 / 3)
    path = save_linear(remembering.state_dir.parent / "next.onnx", 5)
    remembering.run("publish", str(path), "--name", "linear", "--deterministic")
    end = time.monotonic() + 20
    while (answer := output(infer(tenant)))[0] != 5:
        assert answer[0] == pytest.approx(1 / 3)
        assert time.monotonic() < end
        time.sleep(0.05)
