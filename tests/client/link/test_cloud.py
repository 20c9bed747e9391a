"""Link-aware calls over a real service."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from airserve import AsyncClient, Client
from airserve.core.errors import (
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    UnreachableError,
)
from tests.conftest import Service

X = np.arange(4, dtype=np.float32).reshape(1, 4)


def test_an_answer_says_how_it_came_about_and_the_link_is_learnt(service: Service, tmp_path: Path) -> None:
    with Client(service.url, service.key, adapt=True, cache=tmp_path, seed=1) as client:
        for step in range(5):
            answer = client.infer("linear", {"x": X * step}, explain=True)
            np.testing.assert_array_equal(answer["y"], X * step * 2)
        assert (answer.place, answer.codec, answer.accuracy, answer.replayed) == ("cloud", "raw", 1.0, False)
        (taken,) = [each for each in answer.explanation if each.actual_ms is not None]
        assert taken.chosen
        assert taken.predicted_p95_ms >= taken.predicted_ms > 0
        assert client.last == answer.timings
        assert client.link.reachable
        assert client.link.samples > 0
        assert client.link.error is not None
        assert 0 < client.link.rtt_s < 0.07


@pytest.mark.parametrize("http", ["auto", "2", "3"])
def test_transports_are_raced_and_remembered(service: Service, tmp_path: Path, http: str) -> None:
    async def run() -> None:
        ready = service.ready
        async with AsyncClient(ready["url"], ready["key"], ca=ready["ca"], http=http, cache=tmp_path) as client:  # type: ignore[arg-type]
            answers = await asyncio.gather(*(client.infer("linear", {"x": X * i}, deadline=30) for i in range(10)))
            for i, answer in enumerate(answers):
                np.testing.assert_array_equal(answer["y"], X * i * 2)
                assert answer.transport in (("HTTP/2", "HTTP/3") if http == "auto" else (f"HTTP/{http}",))
            assert client.link.transport in ("2", "3")

    asyncio.run(run())


def test_one_client_is_shared_by_threads(service: Service, tmp_path: Path) -> None:
    with Client(service.url, service.key, adapt=True, cache=tmp_path) as client:
        wrong: list[int] = []

        def call(i: int) -> None:
            answers = [client.infer("linear", {"x": X * i})["y"] for _ in range(10)]
            wrong.extend(i for answer in answers if not np.array_equal(answer, X * i * 2))

        threads = [threading.Thread(target=call, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_errors_arrive_as_their_classes(service: Service, tmp_path: Path) -> None:
    with Client(service.url, service.key, adapt=True, cache=tmp_path, retries=0) as client:
        with pytest.raises(InvalidInputError, match="unexpected shape"):
            client.infer("linear", {"x": np.zeros((1, 5), np.float32)})
        with pytest.raises(NotFoundError, match="unknown model"):
            client.infer("nobody", {"x": X})
        client.infer("slow", {"x": np.ones(1, np.float32)})
        with pytest.raises((DeadlineExceededError, OverloadedError)):
            client.infer("slow", {"x": np.ones(1, np.float32)}, deadline=0.01, fallback="device")


@pytest.mark.parametrize(
    "options", [{"deadline": 0}, {"deadline": 80_000}, {"accuracy": 1.5}, {"fallback": "moon"}, {"prefer": "luck"}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with Client("http://127.0.0.1:9", "k") as client, pytest.raises(InvalidInputError):
        client.infer("m", {"x": X}, **options)  # type: ignore[arg-type]


def test_a_service_that_is_not_there_is_unreachable_where_nothing_can_fall_back(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "k", retries=0, cache=tmp_path) as client:
        client.warm()
        assert not client.link.reachable
        with pytest.raises(UnreachableError):
            client.infer("m", {"x": X}, fallback="device")
