from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from airserve.accounts import Principal
from airserve.core.errors import InvalidInputError
from airserve.metering import Journal
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import Manifest, Tensor
from airserve.models.onnx_import import package_onnx
from airserve.models.package import open_package
from airserve.server.calls import Calls
from airserve.server.http import Request
from airserve.server.runtime import Runtime
from airserve.server.settings import load_settings
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.warmup import load_warm
from tests.models_for_tests import save_linear
from tests.serving.words import WordEngine, prompt

TENANT = Principal("key", "ten_a", None)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(load_settings(tmp_path / "state"))
    yield runtime
    runtime.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "journal", "n")
    yield journal
    journal.close()


def request_of(body: bytes) -> Request:
    async def read(limit: int) -> bytes:
        return body

    return Request("POST", "/", {}, read, time.monotonic_ns())


def words(journal: Journal, folder: Path) -> GenerationDeployment:
    text = (Tensor("text", "BYTES", (1,)),)
    spec = DeploymentSpec(
        "words", 1, "a", folder, Manifest(name="words", engine="llama", inputs=text, outputs=text), ()
    )
    return GenerationDeployment(spec, WordEngine(), journal, queue_capacity=4)


def linear(journal: Journal, folder: Path) -> Deployment:
    package = open_package(package_onnx(save_linear(folder / "linear.onnx"), folder / "linear", name="linear"))
    spec = DeploymentSpec("linear", 1, "a", package.folder, package.manifest, ())
    return Deployment(spec, load_warm(spec), journal, queue_capacity=4)


async def test_a_generation_is_in_flight_from_its_first_step_until_it_ends(
    runtime: Runtime, journal: Journal, tmp_path: Path
) -> None:
    deployment = words(journal, tmp_path)
    pieces = Calls(runtime).generate(request_of(b"{}"), TENANT, deployment, b"{}", prompt("one two"))
    assert runtime.in_flight == 0
    assert (await anext(pieces)).choices[0]["text"] == "one "
    assert runtime.in_flight == 1
    await pieces.aclose()
    assert runtime.in_flight == 0
    deployment.close()


async def test_a_model_of_tensors_that_is_asked_for_text_names_the_route_to_call(
    runtime: Runtime, journal: Journal, tmp_path: Path
) -> None:
    deployment = linear(journal, tmp_path)
    with pytest.raises(InvalidInputError, match=r"generates no text.*/v2/models/linear/infer"):
        await anext(Calls(runtime).generate(request_of(b"{}"), TENANT, deployment, b"{}", prompt("one")))
    assert runtime.in_flight == 0
    deployment.close()


async def test_a_model_of_text_that_is_sent_tensors_names_the_routes_to_call(
    runtime: Runtime, journal: Journal, tmp_path: Path
) -> None:
    deployment = words(journal, tmp_path)
    with pytest.raises(InvalidInputError, match="takes no tensors; call /v1/chat/completions"):
        await Calls(runtime).infer(request_of(b"{}"), TENANT, deployment, b"{}", {"x": np.zeros(1)}, 1)
    deployment.close()
