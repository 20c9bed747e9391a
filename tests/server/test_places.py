"""Where a model can be computed: what `/places` says, to whom, and the routes that go with it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from airserve.models.manifest import CodecEntry, Manifest, SplitOf, Tensor, Variant
from airserve.models.package import write_package
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of `linear`, whose weights a device may have, and of two tails, of it and of an older version of it."""
    folder = tmp_path_factory.mktemp("placed")
    state = folder / "state"
    np.save(folder / "sample.npy", np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32))
    whole = airserve(
        "publish", str(save_linear(folder / "linear.onnx")), "--state-dir", str(state), "--json", "--deterministic",
        "--codecs", "fp16", "--data", str(folder / "sample.npy"), "--device", str(save_linear(folder / "s.onnx", 2.5)),
    )  # fmt: skip
    publish_tail(folder, "linear.tail-1", whole["address"])
    publish_tail(folder, "linear.tail-2", "0" * 64)
    running = start_service(state, "--no-demo")
    yield running
    assert running.stop() == 0


def publish_tail(folder: Path, name: str, address: str) -> None:
    tail, head = save_linear(folder / f"{name}.onnx"), save_linear(folder / "head.onnx", 0.5)
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, 4)),),
        outputs=(Tensor("y", "FP32", (-1, 4)),),
        variants=(Variant("tail", "model.onnx", tail.stat().st_size),),
        max_batch=8,
        codecs=(CodecEntry("x", "int4c+ans", 0.97, "cosine", 12.0),),
        split=SplitOf("linear", address, "head.onnx", "x", 0.25, 0.97, "cosine"),
    )
    made = write_package(folder / name, manifest, {"model.onnx": tail, "head.onnx": head})
    airserve("publish", str(made), "--state-dir", str(folder / "state"), "--json")


def places(service: Service, model: str = "linear", key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or service.key}"}
    return httpx.get(f"{service.url}/v2/models/{model}/places", headers=headers, timeout=30)


def test_everything_that_is_known_of_a_version(placed: Service) -> None:
    document = places(placed).json()
    (version,) = placed.run("models", "show", "linear")["versions"]
    assert (document["model"], document["version"], document["deterministic"]) == ("linear", "1", True)
    assert document["address"].startswith(version["sha256"])
    assert 0 < document["compute_ms"] < 1000
    assert (document["vision"], document["text"]) == (None, None)
    fields = ("tensor", "codec", "accuracy", "metric", "bytes")
    assert [tuple(each) for each in document["codecs"]] == [fields, fields]
    assert {each["tensor"]: each["codec"] for each in document["codecs"]} == {"x": "fp16", "y": "fp16"}


def test_the_device_s_weights_are_offered_with_their_accuracy_and_the_digest_of_what_is_fetched(
    placed: Service,
) -> None:
    device = places(placed).json()["device"]
    # 2.5x in the place of 2x: a quarter off.
    assert (device["variant"], device["metric"]) == ("device", "1 - relative error")
    assert device["accuracy"] == pytest.approx(0.75, abs=1e-3)
    fetched = httpx.get(f"{placed.url}/v2/models/linear/device", headers=placed.headers)
    assert fetched.status_code == 200, fetched.text
    assert (device["bytes"], device["sha256"]) == (len(fetched.content), hashlib.sha256(fetched.content).hexdigest())
    rest = httpx.get(f"{placed.url}/v2/models/linear/device", headers={**placed.headers, "range": "bytes=100-"})
    assert (rest.status_code, rest.content) == (206, fetched.content[100:])


def test_the_splits_are_the_tails_of_this_very_version(placed: Service) -> None:
    (split,) = places(placed).json()["splits"]
    assert (split["model"], split["version"], split["tensor"], split["head_share"]) == ("linear.tail-1", "1", "x", 0.25)
    assert [each["codec"] for each in split["codecs"]] == ["int4c+ans"]
    assert (split["accuracy"], split["metric"]) == (0.97, "cosine")
    assert split["head_bytes"] > 0
    assert len(split["head_sha256"]) == 64


def test_a_key_learns_of_the_models_that_it_opens_alone(placed: Service) -> None:
    placed.run("tenants", "create", "narrow")
    key = placed.run("keys", "create", "narrow", "--models", "linear")["key"]
    end = time.monotonic() + 10
    while (answer := places(placed, key=key)).status_code == 401:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert answer.json()["splits"] == []
    assert places(placed, "linear.tail-1", key).status_code == 403
    assert httpx.get(f"{placed.url}/v2/models/linear/places").status_code == 401
    assert httpx.get(f"{placed.url}/v2/models/linear/device").status_code == 401


def test_weights_are_for_who_may_call_the_model_not_for_who_may_only_read(placed: Service) -> None:
    operator = {"authorization": f"Bearer {placed.ready['operator_key']}"}
    assert httpx.get(f"{placed.url}/v2/models/linear/device", headers=operator).status_code == 403
    assert places(placed, key=placed.ready["operator_key"]).status_code == 200


def test_a_version_may_be_named_and_what_is_not_there_is_not_found(placed: Service) -> None:
    assert places(placed, "linear/versions/1").json()["version"] == "1"
    assert places(placed, "linear/versions/2").status_code == 404
    assert places(placed, "nothing").status_code == 404
    wrong: Any = httpx.post(f"{placed.url}/v2/models/linear/places", headers=placed.headers)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert json.loads(wrong.content)["error"]
