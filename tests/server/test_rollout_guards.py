"""A version is brought to many tenants under load: a bad one goes back by itself, a good one reaches everybody."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from benchmarks.planted import MIRRORED, reordered
from sklearn.datasets import load_digits

from airserve.accounts import create_key, create_tenant
from airserve.models.catalog import Catalog
from airserve.server.installation import load_pepper, open_database
from airserve.server.settings import load_settings
from airserve.serving.rollout.routing import place_of
from tests.conftest import Service, copy_first_state, start_service
from tests.server.wire import send

TENANTS, CALLERS = 48, 6
BAD, GOOD = 2, 3
GUARDS = "error<0.5%, agreement>98%"


@dataclass
class Rolling:
    """A service of `digits`: version 1 in production, `BAD` and `GOOD` beside it; the keys of its tenants."""

    service: Service
    keys: list[str]
    tenants: list[str]

    @property
    def operator(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.service.ready['operator_key']}", "content-type": "application/json"}

    def control(self, path: str, document: Any = None, method: str = "") -> Any:
        """What the control API answers to an operator."""
        body = None if document is None else json.dumps(document).encode()
        return json.loads(send(self.service, f"/control/{path}", body, headers=self.operator, method=method).body)

    def status(self) -> Any:
        """How the last rollout stands."""
        return self.control("models/digits/rollout")

    def state(self) -> str:
        return str(self.status()["rollout"]["state"])


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rolling]:
    state = tmp_path_factory.mktemp("rolling") / "state"
    copy_first_state(state)
    settings = load_settings(state)
    database = open_database(settings)
    catalog = Catalog(database, state / "store")
    (first,) = catalog.show("digits")
    package = state / "store" / first.address
    # The same weights: the bad one takes a picture for its mirror image, the good one as it is.
    for version, order in {BAD: MIRRORED, GOOD: range(64)}.items():
        folder = reordered(package, state.parent / f"version-{version}", order)
        assert catalog.publish(folder, alias=None).version == version
    pepper = load_pepper(settings, database)
    keys, tenants = [], []
    for number in range(TENANTS):
        tenants.append(create_tenant(database, f"tenant-{number}", now_ns=1).id)
        keys.append(create_key(database, pepper, now_ns=2, tenant=f"tenant-{number}")[0])
    database.close()
    running = start_service(state)
    yield Rolling(running, keys, tenants)
    assert running.stop() == 0


@dataclass
class Load:
    """Calls of all tenants, from several connections. `answers` are (tenant, version) in their order."""

    rolling: Rolling
    answers: list[tuple[int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def call(self, caller: int) -> None:
        images = load_digits().data
        connection = http.client.HTTPConnection(*self.rolling.service.url.removeprefix("http://").split(":"))
        number = caller
        while not self.stopped.is_set():
            tenant = number % TENANTS
            pixels = images[number % len(images)]
            number += CALLERS
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": pixels.tolist()}]}
            headers = {"authorization": f"Bearer {self.rolling.keys[tenant]}", "content-type": "application/json"}
            connection.request("POST", "/v2/models/digits/infer", json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                self.answers.append((tenant, json.loads(text)["model_version"]))
            else:
                self.failures.append(text.decode())

    @property
    def of_new(self) -> int:
        return sum(version != "1" for _, version in self.answers)


@contextmanager
def load(rolling: Rolling) -> Iterator[Load]:
    calls = Load(rolling)
    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(calls.call, caller) for caller in range(CALLERS)]
        try:
            yield calls
        finally:
            calls.stopped.set()
    for caller in callers:
        caller.result()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_bad_version_goes_back_before_it_answered_a_fiftieth_of_the_calls_of_its_first_step(rolling: Rolling) -> None:
    with load(rolling) as calls:
        # A quarter of the tenants for four seconds: unguarded, it would have answered a quarter of the calls.
        rolling.service.run(
            "rollout", "digits", str(BAD), "--canary", "25%", "--every", "4s", "--guard", GUARDS, "--shadow", "no"
        )
        began = time.monotonic()
        wait_for(lambda: rolling.state() == "rolled_back", "it is rolled back")
        time.sleep(max(0.0, began + 4 - time.monotonic()))
        wait_for(lambda: {version for _, version in calls.answers[-200:]} == {"1"}, "the old version answers everybody")
    assert not calls.failures
    assert 0 < calls.of_new < 0.02 * len(calls.answers)
    ended = rolling.status()
    assert ended["rollout"]["reason"].startswith("agreement>98%: ")
    (guard,) = [each for each in ended["guards"] if each["guard"] == "agreement>98%"]
    assert guard["state"] == "failed"
    assert guard["low"] > guard["limit"]


def test_in_the_shadow_a_bad_version_answers_nobody(rolling: Rolling) -> None:
    with load(rolling) as calls:
        asked = {"version": BAD, "steps": [25, 100], "every_seconds": 1, "guards": GUARDS}
        begun = rolling.control("models/digits/rollout", asked)
        assert (begun["state"], begun["from_version"]) == ("shadow", 1)
        wait_for(lambda: rolling.state() == "rolled_back", "it is rolled back")
    assert not calls.failures
    assert calls.of_new == 0


def test_every_protocol_answers_a_tenant_by_the_same_version(rolling: Rolling) -> None:
    service = rolling.service
    # Where nobody asks whether the answers agree, the bad version stays, and its answers tell it from the old one.
    begun = service.run("rollout", "digits", str(BAD), "--steps", "50,100", "--guard", "error<50%", "--shadow", "no")
    places = [place_of(begun["id"], tenant) for tenant in rolling.tenants]
    among, beyond = (rolling.keys[places.index(find(places))] for find in (min, max))
    assert min(places) < 50 < max(places)
    wait_for(lambda: answers(service, among)["REST"] != answers(service, beyond)["REST"], "the first step")
    assert len(set(answers(service, among).values())) == 1
    assert len(set(answers(service, beyond).values())) == 1
    # Who names a version gets it.
    assert answers(service, among, version=1) == answers(service, beyond)
    running = rolling.control("rollouts?running=true")
    assert [(each["state"], each["to_version"]) for each in running] == [("canary", BAD)]
    assert rolling.control("models/digits/rollout/next", {})["stage"] == 2
    wait_for(lambda: answers(service, beyond) == answers(service, among), "the second step")
    assert rolling.control("models/digits/rollout", method="DELETE")["state"] == "stopped"
    wait_for(lambda: answers(service, among) == answers(service, among, version=1), "the old version")


def answers(service: Service, key: str, version: int | None = None) -> dict[str, str]:
    """The probabilities of one picture's classes, by each protocol."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    pixels = load_digits().data[:1].astype(np.float32)
    path = "digits" if version is None else f"digits/versions/{version}"

    def asked(route: str, document: Any) -> Any:
        return json.loads(send(service, route, json.dumps(document).encode(), headers=headers).body)

    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": pixels[0].tolist()}
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as client:
        given = triton.InferInput("x", [1, 64], "FP32")
        given.set_data_from_numpy(pixels)
        called = client.infer(
            "digits", [given], model_version="" if version is None else str(version), headers={"x-api-key": key}
        )
    found = {
        "REST": asked(f"/v2/models/{path}/infer", {"inputs": [tensor]})["outputs"][0]["data"],
        "generate": asked(f"/v2/models/{path}/generate", {"x": pixels[0].tolist()})["probabilities"][0],
        "plain": asked(f"/models/{path}", pixels[0].tolist())["probabilities"],
        "gRPC": called.as_numpy("probabilities")[0],
    }
    return {protocol: " ".join(f"{share:.3f}" for share in shares) for protocol, shares in found.items()}


def test_a_good_version_reaches_everybody_by_itself(rolling: Rolling) -> None:
    with load(rolling) as calls:
        rolling.service.run("rollout", "digits", str(GOOD), "--steps", "10,50,100", "--every", "1s", "--guard", GUARDS)
        wait_for(lambda: rolling.state() == "complete", "it is complete")
        wait_for(lambda: {version for _, version in calls.answers[-200:]} == {str(GOOD)}, "it answers everybody")
    assert not calls.failures
    for tenant in range(TENANTS):
        versions = [version for who, version in calls.answers if who == tenant]
        # Answers of one tenant come from several connections, so that neighbours may change places.
        assert versions[0] == "1"
        assert versions[-1] == str(GOOD)
    (latest, *_) = rolling.service.run("rollout", "history", "digits")
    assert [each["action"] for each in latest["decisions"]] == ["start", "advance", "advance", "advance", "complete"]
    counted = send(rolling.service, "/metrics", headers=rolling.operator).body.decode()
    advanced = 'airserve_rollout_decisions_total{action="advance",alias="prod",model="digits"} '
    assert sum(float(line.removeprefix(advanced)) for line in counted.splitlines() if line.startswith(advanced)) >= 3
