"""Both clients against the real service."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve import AsyncClient, Client
from airserve.core.errors import (
    DeadlineExceededError,
    InvalidInputError,
    MissingKeyError,
    ModelFailedError,
    NotFoundError,
    OverloadedError,
    UnreachableError,
)
from tests.conftest import Service

X = np.arange(4, dtype=np.float32).reshape(1, 4)


@pytest.mark.parametrize("http", ["1.1", "2", "3"])
def test_many_calls_at_once_on_one_async_client(service: Service, http: str) -> None:
    async def run() -> None:
        ready = service.ready
        async with AsyncClient(ready["url"], ready["key"], ca=ready["ca"], http=http) as client:  # type: ignore[arg-type]
            answers = await asyncio.gather(*(client.infer("linear", {"x": X * i}) for i in range(40)))
            for i, answer in enumerate(answers):
                np.testing.assert_array_equal(answer["y"], X * i * 2)
            assert await client.ready()
            assert (await client.metadata("linear"))["name"] == "linear"

    asyncio.run(run())


def test_one_client_is_shared_by_threads(service: Service) -> None:
    with Client(service.url, service.key) as client:
        wrong: list[int] = []

        def call(i: int) -> None:
            answers = [client.infer("linear", {"x": X * i})["y"] for _ in range(20)]
            wrong.extend(i for answer in answers if not np.array_equal(answer, X * i * 2))

        threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_errors_arrive_as_their_classes(service: Service) -> None:
    with Client(service.url, service.key, retries=0) as client:
        with pytest.raises(InvalidInputError, match="unexpected shape"):
            client.infer("linear", {"x": np.zeros((1, 5), np.float32)})
        with pytest.raises(NotFoundError, match="unknown model"):
            client.infer("nobody", {"x": X})
        with pytest.raises(ModelFailedError):
            client.infer("failing", {"i": np.array([99])})
        with pytest.raises((DeadlineExceededError, OverloadedError)):
            client.infer("slow", {"x": np.ones(1, np.float32)}, timeout_ms=3)
    with Client(service.url) as client, pytest.raises(MissingKeyError):
        client.infer("linear", {"x": X})


def test_a_service_that_is_not_there_is_unreachable_after_its_retries() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "k", retries=1) as client, pytest.raises(UnreachableError):
        client.infer("m", {"x": X})


def test_a_service_that_never_answers_ends_with_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, "k") as client, pytest.raises(DeadlineExceededError):
            client.infer("m", {"x": X}, timeout_ms=100)

        async def run() -> None:
            async with AsyncClient(url, "k") as client:
                with pytest.raises(DeadlineExceededError):
                    await client.infer("m", {"x": X}, timeout_ms=100)

        asyncio.run(run())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("harm", ["no certificate", "no key", "version 1", "no authority"])
def test_a_certificate_that_cannot_be_used_is_told(kind: Any, harm: str, tmp_path: Path) -> None:
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=me -keyout me.key -out me.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    command = "openssl req -new -key me.key -subj /CN=me -out me.csr"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    command = "openssl x509 -req -in me.csr -signkey me.key -out old.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    certificate, key = tmp_path / ("old.pem" if harm == "version 1" else "me.pem"), tmp_path / "me.key"
    given = {"no certificate": (b"junk", key), "no key": (certificate, b"junk")}.get(harm, (certificate, key))
    authority = (
        b"-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n" if harm == "no authority" else None
    )
    with pytest.raises(InvalidInputError, match="cannot be used"):
        kind("https://localhost:1", "key", ca=authority, certificate=given)


def test_another_certificate_authority_is_not_trusted(service: Service) -> None:
    with Client(service.ready["url"], service.key, retries=0) as client, pytest.raises(UnreachableError):
        client.infer("linear", {"x": X})
