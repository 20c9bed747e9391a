from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.responses import Response

from airserve.core.errors import AirserveError, BadPackageError, InvalidInputError, ModelFailedError, OverloadedError
from airserve.core.generation import Generation, Piece, TokenCounts
from airserve.core.tensor import Signature
from airserve.engines import Generator, Source, load_generator
from airserve.engines import options as sections
from tests.openai_for_tests import WORDS, Upstream, refusal, upstream_server
from tests.waiting import until

CHAT = Generation(chat=True, parameters={"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5})
TEXT = Generation(chat=False, parameters={"prompt": "hi", "max_tokens": 5})
KEY = "sk-a-key-of-the-other-server"
Connect = Callable[..., Generator]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_server() as running:
        yield running


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    monkeypatch.setenv("THE_KEY", KEY)
    opened: list[Generator] = []

    def generator(url: str, **options: Any) -> Generator:
        section = sections.Upstream(url=url, model="big-model", key_variable="THE_KEY", **options)
        source = Source(folder=Path(), file="", signature=Signature((), ()), upstream=section, model="mine")
        opened.append(load_generator("openai", source, threads=1))
        return opened[-1]

    yield generator
    for each in opened:
        each.close()


def pieces(generator: Generator, generation: Generation = CHAT) -> list[Piece]:
    heard: list[Piece] = []

    def emit(piece: Piece) -> bool:
        heard.append(piece)
        return True

    generator.generate(generation, emit)
    return heard


def text(heard: list[Piece]) -> str:
    choices = [choice for piece in heard for choice in piece.choices]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content", "") for choice in choices)


@pytest.mark.parametrize(("generation", "path"), [(CHAT, "/v1/chat/completions"), (TEXT, "/v1/completions")])
def test_a_request_goes_there_and_its_pieces_come_back_with_the_counts_of_that_server(
    upstream: Upstream, connect: Connect, generation: Generation, path: str
) -> None:
    heard = pieces(connect(upstream.url), generation)
    assert text(heard) == "".join(WORDS)
    assert [piece.final for piece in heard] == [False] * (len(heard) - 1) + [True]
    assert heard[-1].tokens == TokenCounts(input=11, cached=3, output=5)
    assert heard[-1].choices[0]["finish_reason"] == "stop"
    ((asked, body, headers),) = upstream.requests
    assert asked == path
    assert body == {
        **generation.parameters, "model": "big-model", "stream": True, "stream_options": {"include_usage": True}
    }  # fmt: skip
    assert headers["authorization"] == f"Bearer {KEY}"


def test_pieces_come_as_they_are_made(upstream: Upstream, connect: Connect) -> None:
    upstream.stall_after = 2
    heard: list[Piece] = []
    seen = threading.Event()

    def emit(piece: Piece) -> bool:
        heard.append(piece)
        if text(heard) == "".join(WORDS[:2]):
            seen.set()
        return not seen.is_set()

    connect(upstream.url).generate(CHAT, emit)
    assert seen.is_set()


def test_without_usage_each_chunk_of_text_counts_as_a_token(upstream: Upstream, connect: Connect) -> None:
    upstream.usage = False
    assert pieces(connect(upstream.url))[-1].tokens == TokenCounts(output=len(WORDS))


def test_slots_generate_at_once(upstream: Upstream, connect: Connect) -> None:
    upstream.delay_s = 0.05
    generator = connect(upstream.url, slots=16)
    assert generator.slots == 16
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: text(pieces(generator)), range(16)))
    assert answers == ["".join(WORDS)] * 16


@pytest.mark.parametrize("stall_after", [None, 2])
def test_the_connection_is_closed_when_nobody_wants_the_answer_also_while_the_server_is_silent(
    upstream: Upstream, connect: Connect, stall_after: int | None
) -> None:
    upstream.stall_after, upstream.words, upstream.delay_s = stall_after, WORDS * 1000, 0.01
    heard: list[Piece] = []

    def emit(piece: Piece) -> bool:
        heard.append(piece)
        return bool(piece.choices) and len(heard) < 100

    connect(upstream.url).generate(CHAT, emit)
    until(lambda: upstream.dropped == 1)
    assert not heard[-1].final


def test_a_server_that_falls_silent_is_given_up_after_the_silence(upstream: Upstream, connect: Connect) -> None:
    upstream.stall_after = 1
    heard: list[Piece] = []
    with pytest.raises(OverloadedError, match="silent for 400 ms"):
        connect(upstream.url, silence_timeout_ms=400).generate(CHAT, lambda piece: not heard.append(piece))
    assert text(heard) == WORDS[0]
    assert heard[-1].tokens.output == 1
    until(lambda: upstream.dropped == 1)


def test_an_answer_that_breaks_off_is_not_tried_again(upstream: Upstream, connect: Connect) -> None:
    upstream.break_after = 2
    with pytest.raises(OverloadedError, match="broke off"):
        pieces(connect(upstream.url))
    assert len(upstream.requests) == 1


def test_a_busy_server_is_asked_again_before_the_first_byte(upstream: Upstream, connect: Connect) -> None:
    upstream.refusals = [refusal(429, retry_after="1"), refusal(503)]
    assert text(pieces(connect(upstream.url))) == "".join(WORDS)
    assert len(upstream.requests) == 3


def test_a_server_that_stays_busy_or_asks_for_long_patience_is_overloaded(upstream: Upstream, connect: Connect) -> None:
    generator = connect(upstream.url, retries=1)
    upstream.refusals = [refusal(502), refusal(502)]
    with pytest.raises(OverloadedError, match="answered 502"):
        pieces(generator)
    assert len(upstream.requests) == 2
    upstream.refusals = [refusal(429, retry_after="3600")]
    with pytest.raises(OverloadedError) as busy:
        pieces(generator)
    assert busy.value.retry_after == 3600
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (refusal(400, "max_tokens is too large"), InvalidInputError, "max_tokens is too large"),
        (refusal(422, "x" * 10_000), InvalidInputError, "xxx"),
        (Response(b'{"detail": "no such field"}', 400), InvalidInputError, "no such field"),
        (Response(b"<html>", 400), InvalidInputError, "no reason given"),
        (refusal(400, f"bad key {KEY} in request"), InvalidInputError, r"bad key \.\.\. in request"),
        (refusal(401, "wrong key"), ModelFailedError, "answered 401"),
        (refusal(403, "no"), ModelFailedError, "operator"),
        (refusal(404, "no such model"), ModelFailedError, "operator"),
        (Response(b"", 302, {"location": "http://127.0.0.1:1/"}), ModelFailedError, "answered 302"),
        (refusal(500, "out of memory"), OverloadedError, "answered 500"),
        (Response(b"data: nonsense\n\n"), ModelFailedError, "no chunk"),
        (Response(b'data: {"choices": 5}\n\n'), ModelFailedError, "no chunk"),
        (Response(b'data: {"error": {"message": "gone"}}\n\n'), ModelFailedError, "failed amid its answer"),
        (Response(b'{"choices": []}'), OverloadedError, "broke off"),
        (Response(b"x" * 3_000_000), ModelFailedError, "no stream of events"),
    ],
)
def test_what_another_answer_means(
    upstream: Upstream, connect: Connect, answer: Response, kind: type[AirserveError], said: str
) -> None:
    upstream.refusals = [answer]
    with structlog.testing.capture_logs() as logs, pytest.raises(kind, match=said) as refused:
        pieces(connect(upstream.url))
    assert len(refused.value.message) < 500
    assert KEY not in refused.value.message + str(logs)
    assert len(upstream.requests) == 1


def test_a_server_that_is_away_is_tried_again_and_then_left_alone_until_it_is_back(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    generator = connect(url, retries=0)
    for _ in range(5):
        with pytest.raises(OverloadedError, match="cannot be reached"):
            pieces(generator)
    with pytest.raises(OverloadedError, match="left alone for a while") as left:
        pieces(generator)
    assert left.value.retry_after is not None
    assert left.value.retry_after >= 1


def test_a_key_that_is_not_set_is_named_at_loading(upstream: Upstream, connect: Connect, monkeypatch: Any) -> None:
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(BadPackageError, match="THE_KEY"):
        connect(upstream.url)
