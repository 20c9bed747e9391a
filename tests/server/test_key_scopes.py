"""What a key is confined to holds over every protocol."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.conftest import Service
from tests.server.wire import send

TENSORS = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()
CALLS = {
    "infer": ("/v2/models/linear/infer", TENSORS),
    "generate": ("/v2/models/linear/generate", b"{}"),
    "chat": ("/v1/chat/completions", b'{"model": "linear", "messages": [{"role": "user", "content": "x"}]}'),
    "completions": ("/v1/completions", b'{"model": "linear", "prompt": "x"}'),
    "embeddings": ("/v1/embeddings", b'{"model": "linear", "input": "x"}'),
}
READS = ("/v2/models/linear", "/v2/models", "/v1/models", "/v1/models/linear", "/models", "/models/linear")


def key_of(service: Service, *scope: str) -> str:
    """A new key of the demo tenant, once the running service knows it."""
    key = str(service.run("keys", "create", "demo", *scope)["key"])
    give_up = time.monotonic() + 10
    while (answer := send(service, "/v2", headers=bearer(key))).status == 401 and "not known" in answer.error:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return key


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def statuses(service: Service, key: str) -> dict[str, int]:
    """How each operation ends; a model that cannot do it says 4xx of another kind, once the key was let through."""
    found = {name: send(service, path, body, headers=bearer(key)).status for name, (path, body) in CALLS.items()}
    return {**found, **{path: send(service, path, headers=bearer(key)).status for path in READS}}


@pytest.mark.server
@pytest.mark.parametrize("route", [*CALLS, "read"])
def test_a_key_of_one_operation_opens_that_one_alone(service: Service, route: str) -> None:
    found = statuses(service, key_of(service, "--routes", route))
    opened = {name for name, status in found.items() if status not in (401, 403)}
    assert opened == (set(READS) if route == "read" else {route})


@pytest.mark.server
def test_a_key_opens_from_its_addresses_alone(service: Service) -> None:
    here, elsewhere = (key_of(service, "--addresses", each) for each in ("127.0.0.0/8,::1", "192.0.2.0/24"))
    assert set(statuses(service, elsewhere).values()) == {403}
    assert 403 not in statuses(service, here).values()


@pytest.mark.server
def test_a_bound_key_alone_and_a_members_key_open_no_call(service: Service) -> None:
    bound = key_of(service, "--certificate", "ab" * 32)
    assert set(statuses(service, bound).values()) == {401}
    service.run("members", "add", "demo", "ada@example.org", "--role", "viewer")
    member = statuses(service, key_of(service, "--member", "ada@example.org"))
    assert {member[name] for name in CALLS} == {403}
    service.run("members", "remove", "demo", "ada@example.org")


@pytest.mark.server
def test_the_same_holds_over_grpc(service: Service) -> None:
    grpcclient: Any = pytest.importorskip("tritonclient.grpc")
    import numpy as np
    from tritonclient.utils import InferenceServerException

    tensor = grpcclient.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 4), np.float32))

    def ends(key: str) -> str:
        with grpcclient.InferenceServerClient(service.url.removeprefix("http://")) as client:
            try:
                client.infer("linear", [tensor], headers=bearer(key))
            except InferenceServerException as error:
                return str(error.status())
        return "ok"

    assert ends(key_of(service, "--routes", "infer")) == "ok"
    assert "PERMISSION_DENIED" in ends(key_of(service, "--routes", "read,generate"))
    assert "PERMISSION_DENIED" in ends(key_of(service, "--addresses", "192.0.2.0/24"))
