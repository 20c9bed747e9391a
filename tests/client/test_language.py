"""Chat and embeddings with our own clients, against real models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import numpy as np
import pytest

from airserve import AsyncClient, Client
from airserve.core.errors import (
    DeadlineExceededError,
    ForbiddenError,
    InvalidInputError,
    MissingKeyError,
    NotFoundError,
    UnreachableError,
)
from tests.conftest import Service

pytestmark = pytest.mark.models

ASKED = {"max_tokens": 8, "temperature": 0}


@pytest.fixture
def connect(large_service: Service) -> Callable[..., Client]:
    ready = large_service.ready
    return lambda http="auto": Client(ready["url"], ready["key"], ca=ready["ca"], http=http)


@pytest.mark.parametrize("http", ["1.1", "2", "3"])
def test_a_stream_says_the_same_as_a_whole_answer(connect: Callable[..., Client], http: str) -> None:
    with connect(http) as client:
        reply = client.chat("gemma", "Say hello.", **ASKED)
        assert reply.text
        assert reply.finish_reason == "length"
        assert reply.usage.output == 8
        with client.chat("gemma", [{"role": "user", "content": "Say hello."}], stream=True, **ASKED) as stream:
            assert "".join(stream) == reply.text == stream.reply.text
        assert stream.usage.output == 8
        assert stream.usage.input == reply.usage.input
        assert client.last is not None


@pytest.mark.parametrize("http", ["1.1", "2", "3"])
async def test_the_same_on_an_event_loop_several_at_once(large_service: Service, http: str) -> None:
    ready = large_service.ready
    async with AsyncClient(ready["url"], ready["key"], ca=ready["ca"], http=http) as client:  # type: ignore[arg-type]

        async def say() -> str:
            async with await client.chat("gemma", "Say hello.", stream=True, **ASKED) as stream:
                text = "".join([piece async for piece in stream])
            assert stream.usage.output == 8
            return text

        whole = await client.chat("gemma", "Say hello.", **ASKED)
        texts = await asyncio.gather(say(), say(), say())
        assert all(texts)
        assert whole.text
        assert (await client.embed("minilm", ["a", "b"])).shape == (2, 384)


def test_closing_a_stream_early_gives_its_slot_back(connect: Callable[..., Client]) -> None:
    with connect() as client:
        for _ in range(8):
            stream = client.chat("gemma", "Tell me a long story.", stream=True, max_tokens=2000)
            assert next(stream)
            stream.close()
            assert list(stream) == []
        assert client.chat("gemma", "Say hello.", timeout_ms=120_000, **ASKED).text


def test_errors_arrive_as_their_classes_with_and_without_a_stream(
    large_service: Service, connect: Callable[..., Client]
) -> None:
    with connect() as client:
        for stream in (False, True):
            with pytest.raises(InvalidInputError, match="temperature"):
                client.chat("gemma", "x", stream=stream, temperature=3)  # type: ignore[call-overload]
            with pytest.raises(NotFoundError, match="unknown model"):
                client.chat("nobody", "x", stream=stream)  # type: ignore[call-overload]
        with pytest.raises(InvalidInputError, match="does not turn texts into embeddings"):
            client.embed("digits", "x")
    with Client(large_service.url) as client, pytest.raises(MissingKeyError):
        client.chat("gemma", "x", stream=True)
    with Client(large_service.url, large_service.ready["operator_key"]) as client, pytest.raises(ForbiddenError):
        client.embed("minilm", "x")
    with Client("http://127.0.0.1:9", "k", retries=1) as client, pytest.raises(UnreachableError):
        client.chat("gemma", "x", stream=True)


# A stream of minutes; the shortest of these deadlines that leaves time for its first token is taken.
LONG = {"max_tokens": 3000, "logit_bias": {"1": -100, "106": -100}}
DEADLINES_MS = (1000, 2000, 4000, 8000, 16_000, 32_000)


def test_a_stream_that_takes_too_long_ends_with_the_deadline_and_keeps_what_came(large_service: Service) -> None:
    with Client(large_service.url, large_service.key, retries=0) as client:
        for timeout_ms in DEADLINES_MS:
            with contextlib.suppress(DeadlineExceededError):
                stream = client.chat("gemma", "Tell me a story.", stream=True, timeout_ms=timeout_ms, **LONG)
                break
        with pytest.raises(DeadlineExceededError):
            list(stream)
        assert stream.reply.text


async def test_the_same_deadline_on_an_event_loop(large_service: Service) -> None:
    async with AsyncClient(large_service.url, large_service.key, retries=0) as client:
        for timeout_ms in DEADLINES_MS:
            with contextlib.suppress(DeadlineExceededError):
                stream = await client.chat("gemma", "Tell me a story.", stream=True, timeout_ms=timeout_ms, **LONG)
                break
        with pytest.raises(DeadlineExceededError):
            async for _ in stream:
                pass
        assert stream.reply.text


def test_embeddings_tell_meanings_apart(connect: Callable[..., Client]) -> None:
    with connect() as client:
        rows = client.embed("minilm", ["how do I pay my bill", "billing question", "the cat sat on the mat"])
        assert rows.shape == (3, 384)
        assert rows.dtype == np.float32
        assert rows[0] @ rows[1] > 0.4 > 0.2 > rows[0] @ rows[2]
        np.testing.assert_allclose(client.embed("minilm", "billing question"), rows[1:2], atol=1e-5)
