"""Inputs that are sent once and named afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from airserve import AsyncClient, Client
from airserve.client.link.sent_inputs import Digests, SentInputs
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_wide

WIDTH = 512
LARGE = np.random.default_rng(3).normal(size=(20, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("wide")
    np.save(folder / "sample.npy", LARGE)
    airserve("publish", str(save_wide(folder / "wide.onnx", WIDTH)), "--state-dir", str(folder / "state"), "--json",
             "--codecs", "fp16", "--data", str(folder / "sample.npy"))  # fmt: skip
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def test_what_is_known_is_bounded_and_grows_old() -> None:
    known = SentInputs()
    for number in range(1000):
        known.learn(str(number), "raw", "sent", 0.0)
    assert len(known) == 256
    assert known.find("0", "raw", 1.0) is None
    assert known.find("999", "raw", 1.0) == "sent"
    assert known.find("999", "raw", 600.0) is None
    known.forget("999")
    assert known.find("999", "raw", 1.0) is None


def test_nothing_is_known_before_the_service_has_answered() -> None:
    known = SentInputs()
    first = Digests({"x": LARGE}, known, 0.0)
    digest = first.give("x", "raw", LARGE.tobytes(), coded=False)
    assert digest is not None
    assert Digests({"x": LARGE}, known, 0.0).find("x", "raw") is None
    first.arrived()
    assert Digests({"x": LARGE}, known, 0.0).find("x", "raw") == digest
    assert Digests({"x": LARGE + 1}, known, 0.0).find("x", "raw") is None
    assert first.give("x", "raw", b"few", coded=False) is None


@pytest.mark.parametrize("codec", ["raw", "fp16"])
def test_the_second_time_a_large_input_is_named_and_the_answer_is_the_same(
    wide: Service,
    tmp_path: Path,
    codec: str,
) -> None:
    with Client(wide.url, wide.key, cache=tmp_path, adapt=True) as client:
        answers = [client.infer("wide", {"x": LARGE}, place="cloud", codec=codec, explain=True) for _ in range(2)]
    for answer in answers:
        np.testing.assert_allclose(answer["y"], LARGE, atol=0.01)
    first, second = (next(each for each in answer.explanation if each.chosen) for answer in answers)
    assert second.up_bytes < 1000 < first.up_bytes


def test_a_service_that_has_forgotten_gets_the_bytes_within_the_same_call(wide: Service, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient(wide.url, wide.key, cache=tmp_path, adapt=True) as client:
            await client.infer("wide", {"x": LARGE}, place="cloud", codec="raw")
            other = LARGE + 1
            # As if the service had been started anew: it never saw what the client takes for sent.
            digests = client._link_caller()._cloud.digests
            known = digests.__self__._sent  # type: ignore[attr-defined]
            digest = Digests({"x": other}, known, 0.0)
            digest.give("x", "raw", other.tobytes(), coded=False)
            known.learn(*digest._given[0], now=1e9)
            answer = await client.infer("wide", {"x": other}, place="cloud", codec="raw")
            np.testing.assert_allclose(answer["y"], other, atol=0.01)
            np.testing.assert_allclose(
                (await client.infer("wide", {"x": other}, place="cloud", codec="raw"))["y"], other, atol=0.01
            )

    asyncio.run(run())
