"""What the client sends is what the service reads, and the other way round, however the network cuts it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.client.chat import ChatEvents, chat_request, parse_chat
from airserve.client.exchange import HttpResponse, raise_for
from airserve.core.errors import (
    AirserveError,
    BudgetExhaustedError,
    DeadlineExceededError,
    ForbiddenError,
    InvalidInputError,
    MissingKeyError,
    ModelFailedError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    UnreachableError,
)
from airserve.core.generation import Piece, TokenCounts
from airserve.protocols import openai as server

HEAD = server.Head("chatcmpl-1", 1, "gemma", "fp_1", chat=True)
ERRORS = [
    InvalidInputError("no"),
    MissingKeyError("no"),
    BudgetExhaustedError("no"),
    ForbiddenError("no"),
    NotFoundError("no"),
    RateLimitedError("no"),
    ModelFailedError("no"),
    OverloadedError("no"),
    DeadlineExceededError("no"),
]


@given(st.booleans(), st.text(min_size=1), st.floats(0, 2), st.integers(1, 99))
def test_the_service_reads_what_the_client_sends(stream: bool, said: str, temperature: float, most: int) -> None:
    request = chat_request("m", said, {"temperature": temperature, "max_tokens": most}, stream=stream, call_id="c")
    assert request.path == "/v1/chat/completions"
    asked = server.decode_chat(server.read_document({}, request.body, max_bytes=1 << 20))
    assert asked.generation.parameters == {
        "messages": [{"role": "user", "content": said}],
        "temperature": temperature,
        "max_tokens": most,
    }
    assert (asked.stream, asked.include_usage) == (stream, stream)


def written(texts: list[str]) -> bytes:
    events = server.Events(HEAD, include_usage=True)
    data = b"".join(events.piece(Piece([{"index": 0, "delta": {"content": text}}])) for text in texts)
    data += events.piece(Piece([{"index": 0, "delta": {}, "finish_reason": "stop"}], final=True))
    return data + events.end(TokenCounts(9, 4, len(texts)))


@given(st.lists(st.text(min_size=1)), st.lists(st.integers(1, 50), min_size=1))
def test_a_stream_cut_anywhere_is_read_as_it_was_written(texts: list[str], sizes: list[int]) -> None:
    data, events, read = written(texts), ChatEvents(), []
    turn = 0
    while data:
        size = sizes[turn % len(sizes)]
        read += events.feed(memoryview(data)[:size])
        data = data[size:]
        turn += 1
    events.end()
    assert events.finished
    assert "".join(read) == "".join(texts) == events.reply.text
    assert events.reply.usage == TokenCounts(9, 4, len(texts))
    assert events.reply.finish_reason == "stop"


def test_a_stream_that_ends_early_says_so_and_keeps_what_has_come() -> None:
    events = ChatEvents()
    assert events.feed(written(["Hello", " there"])[:-200]) == ["Hello", " there"]
    with pytest.raises(UnreachableError, match="before the answer was whole"):
        events.end()
    assert events.reply.text == "Hello there"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_a_refusal_comes_back_as_its_class(error: AirserveError) -> None:
    encoded = server.render_error(error)
    with pytest.raises(type(error), match="no"):
        raise_for(HttpResponse(encoded.status, {}, bytes(encoded.chunks[0])))


@pytest.mark.parametrize("error", [e for e in ERRORS if not isinstance(e, MissingKeyError)], ids=lambda e: str(e.code))
def test_a_failure_in_the_middle_of_a_stream_comes_back_as_its_class(error: AirserveError) -> None:
    events = ChatEvents()
    events.feed(b"".join([written(["a"])[:-300].rpartition(b"\n\n")[0], b"\n\n"]))
    with pytest.raises(type(error), match="no"):
        events.feed(server.error_event(error))


def test_what_is_wrong_with_a_parameter_is_still_invalid_input_in_a_stream() -> None:
    with pytest.raises(InvalidInputError):
        ChatEvents().feed(server.error_event(server.ParameterError("no", "n", "invalid_value")))


def test_a_whole_answer_is_read_with_its_usage_and_its_tool_calls() -> None:
    answer = server.Answer(HEAD)
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}
    answer.add(Piece([{"index": 0, "delta": {"tool_calls": [call]}}]))
    answer.add(Piece([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], TokenCounts(3, 1, 2), final=True))
    reply = parse_chat(HttpResponse(200, {}, json.dumps(answer.document()).encode()))
    assert reply.text == ""
    assert reply.finish_reason == "tool_calls"
    assert reply.usage == TokenCounts(3, 1, 2)
    assert [each["function"]["name"] for each in reply.tool_calls] == ["weather"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"choices": 3}', b'{"choices": [], "usage": {}}'])
def test_an_answer_that_is_no_chat_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(AirserveError, match="is the URL that of an Airserve service"):
        parse_chat(HttpResponse(200, {}, body))


@pytest.mark.parametrize(
    "data", [b"data: <html>\n\n", b"data: []\n\n", b"data: {}\n\n", b'data: {"choices": [{}]}\n\n']
)
def test_events_that_are_none_of_a_chat_are_said_to_be_none(data: bytes) -> None:
    with pytest.raises(AirserveError, match="is the URL that of an Airserve service"):
        ChatEvents().feed(data)


@pytest.mark.parametrize("noise", [b": comment\n\n", b"event: x\n", b"\n\n\n", b"id: 3\r\n\r\n"])
def test_comments_and_other_fields_of_events_are_passed_over(noise: bytes) -> None:
    events = ChatEvents()
    texts: list[Any] = events.feed(noise + written(["a"]).replace(b"\n", b"\r\n"))
    assert texts == ["a"]
    assert events.finished
