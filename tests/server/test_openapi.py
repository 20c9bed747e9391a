"""The OpenAPI document and its page; each documented route is called with what schemathesis makes up for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import Service, publish, start_service
from tests.models_for_tests import save_echo, save_linear
from tests.server.wire import send

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Models that fail on no input that fits them."""
    folder = tmp_path_factory.mktemp("described")
    models = {
        "linear": save_linear(folder / "linear.onnx"),
        "text": save_echo(folder / "text.onnx", TensorProto.STRING, "batch"),
        "pair.1": save_echo(folder / "pair.onnx", TensorProto.INT64, 2),
    }
    publish(folder / "state", models)
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def document(service: Service, headers: dict[str, str] | None = None) -> Any:
    answer = send(service, "/openapi.json", headers=service.headers if headers is None else headers)
    assert answer.status == 200
    return json.loads(answer.body)


def operator(service: Service) -> dict[str, str]:
    return {"authorization": f"Bearer {service.ready['operator_key']}"}


def test_the_document_is_generic_without_a_key_and_tells_of_ones_models_with_it(described: Service) -> None:
    generic, own = document(described, {}), document(described)
    assert generic["openapi"] == "3.1.0"
    assert "linear" not in json.dumps(generic)
    assert "/v2/models/{model}/versions/{version}/infer" in generic["paths"]
    assert set(own["paths"]) - set(generic["paths"]) == {
        f"/v2/models/{model}/infer" for model in ("linear", "text", "pair.1")
    }
    described.run("tenants", "create", "narrow")
    key = described.run("keys", "create", "narrow", "--models", "text")["key"]
    narrow = document_when_known(described, {"authorization": f"Bearer {key}"})
    assert "/v2/models/text/infer" in narrow["paths"]
    assert "linear" not in json.dumps(narrow)
    assert send(described, "/openapi.json", headers={"authorization": "Bearer as_live_wrong"}).status == 401


def document_when_known(service: Service, headers: dict[str, str]) -> Any:
    """A key that was just made is known within a second."""
    end = time.monotonic() + 10
    while (answer := send(service, "/openapi.json", headers=headers)).status != 200:
        assert time.monotonic() < end, answer.body
        time.sleep(0.05)
    return json.loads(answer.body)


def test_each_models_example_is_taken_and_its_answer_fits_the_models_schema(described: Service) -> None:
    own = document(described)
    for model in ("linear", "text", "pair.1"):
        call = own["paths"][f"/v2/models/{model}/infer"]["post"]
        example = call["requestBody"]["content"]["application/json"]["example"]
        answer = send(described, f"/v2/models/{model}/infer", json.dumps(example).encode(), headers=described.headers)
        assert answer.status == 200, answer.body
        for kind, value in (("InferRequest", example), ("InferResponse", json.loads(answer.body))):
            schema = {**own["components"]["schemas"][f"{model}.{kind}"], "components": own["components"]}
            jsonschema_rs.validator_for(schema).validate(value)
    request = {**own["components"]["schemas"]["linear.InferRequest"], "components": own["components"]}
    example["inputs"][0]["name"] = "z"
    assert not jsonschema_rs.validator_for(request).is_valid(example)


@pytest.mark.parametrize("caller", ["tenant", "operator", "nobody"])
def test_every_route_answers_as_documented(described: Service, caller: str) -> None:
    key = {"tenant": described.headers, "operator": operator(described), "nobody": {}}[caller]
    headers = {**key, "Airserve-Timeout-Ms": "30000"}
    schema = schemathesis.openapi.from_dict(document(described))
    called = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=5 if caller == "tenant" else 2, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def call(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=described.url, headers=headers, checks=CHECKS)

        call()
        called += 1
    assert called > 40


def test_the_page_loads_nothing_from_elsewhere(described: Service) -> None:
    answer = send(described, "/docs", headers={})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = answer.body.decode()
    assert "/openapi.json" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
    assert send(described, "/docs/other", headers={}).status == 404
    assert send(described, "/docs", b"", headers={}).status == 405


def test_every_page_of_the_house_is_in_the_document(described: Service) -> None:
    """Whoever adds a route to an API finds it missing here."""
    documented = set(document(described, {})["paths"])
    source = Path(__file__).resolve().parents[2] / "src" / "airserve" / "server" / "apis"
    prefixes = {
        line.split('"')[1]
        for file in source.rglob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith('prefix = "/')
    }
    # The drain is between the supervisor and its process, and looks to all others as if it were not there; the control
    # API has a document of its own, in front of its keys.
    for prefix in prefixes - {"/control/drain", "/control"}:
        assert any(path.startswith(prefix) for path in documented), prefix
