from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.errors import (
    AirserveError,
    BudgetExhaustedError,
    ForbiddenError,
    InvalidInputError,
    MethodNotAllowedError,
    MissingKeyError,
    ModelFailedError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    TooLargeError,
)
from airserve.core.generation import Piece, TokenCounts
from airserve.core.tensor import Signature, TensorSpec
from airserve.protocols import openai
from airserve.protocols.openai import Answer, Events, Head, Operation, ParameterError

HI = [{"role": "user", "content": "hi"}]
CHAT = Head("chatcmpl-1", 1_700_000_000, "gemma", "fp_1", chat=True)
TEXT = Head("cmpl-1", 1_700_000_000, "gemma", "fp_1", chat=False)


def chat(**parameters: Any) -> openai.GenerationRequest:
    return openai.decode_chat({"model": "gemma", "messages": HI, **parameters})


def completion(**parameters: Any) -> openai.GenerationRequest:
    return openai.decode_completion({"model": "gemma", "prompt": "Once", **parameters})


def refused(decode: Any, **parameters: Any) -> ParameterError:
    with pytest.raises(ParameterError) as refusal:
        decode(**parameters)
    return refusal.value


# Requests


def test_the_engine_gets_messages_and_sampling_and_nothing_of_the_protocol() -> None:
    asked = chat(
        temperature=1,
        max_completion_tokens=5,
        stop=["\n"],
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
        user="u",
        metadata={"a": "b"},
        store=False,
        top_p=None,
    )
    assert (asked.model, asked.stream, asked.include_usage) == ("gemma", True, True)
    assert asked.generation.chat
    assert asked.generation.parameters == {
        "messages": HI,
        "temperature": 1.0,
        "max_tokens": 5,
        "stop": ["\n"],
        "seed": 7,
    }


def test_a_whole_conversation_with_tools_reaches_the_engine() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    asked = chat(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "short."}]},
            {"role": "user", "content": "Rain?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []},
            {"role": "tool", "tool_call_id": "c1", "content": "no"},
        ],
        tools=tools,
        tool_choice={"type": "function", "function": {"name": "weather"}},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        parallel_tool_calls=False,
    )  # fmt: skip
    parameters = asked.generation.parameters
    messages = parameters["messages"]
    assert messages[0] == {"role": "system", "content": "Be\nshort."}
    assert messages[1] == {"role": "user", "content": "Rain?", "name": "ann"}
    assert messages[2]["tool_calls"][0]["function"] == call["function"]
    assert messages[2].keys() == {"role", "content", "tool_calls"}
    assert messages[3] == {"role": "tool", "tool_call_id": "c1", "content": "no"}
    assert parameters["tools"] == tools
    assert parameters["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert parameters["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert parameters["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"best_tokens": 3}, "best_tokens", "unknown_parameter"),
        ({"temperature": 2.5}, "temperature", "invalid_value"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_p": -0.1}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value"),
        ({"seed": 1 << 63}, "seed", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stop": [3]}, "stop[0]", "invalid_type"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"presence_penalty": 3}, "presence_penalty", "invalid_value"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias[...]", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [{"type": "code"}]}, "tools[0].type", "invalid_value"),
        ({"functions": []}, "functions", "unknown_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"content": ""}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [*HI, {"role": "user", "content": "x", "mood": 1}]}, "messages[1].mood", "unknown_parameter"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        ({"model": ""}, "model", "invalid_value"),
    ],
)
def test_what_is_wrong_with_a_chat_request_is_named(parameters: dict[str, Any], param: str, code: str) -> None:
    error = refused(chat, **parameters)
    assert (error.param, error.reason) == (param, code)
    assert param.split("[")[0] in error.message


def test_a_picture_is_refused_with_a_sentence() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    error = refused(chat, messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}])
    assert error.param == "messages[0].content[1]"
    assert "'image_url'" in error.message
    assert "text" in error.message


def test_a_completion_takes_one_prompt_and_sixteen_tokens_by_default() -> None:
    assert completion().generation.parameters == {"prompt": "Once", "max_tokens": 16}
    asked = completion(prompt=["Once"], max_tokens=3, echo=False, best_of=1, suffix=None, logprobs=2)
    assert asked.generation.parameters == {"prompt": "Once", "max_tokens": 3, "logprobs": 2}
    assert not asked.generation.chat
    assert refused(completion, prompt=["a", "b"]).param == "prompt"
    assert "token ids" in refused(completion, prompt=[1, 2]).message
    assert refused(completion, prompt=None).param == "prompt"
    assert refused(completion, echo=True).param == "echo"
    assert refused(completion, best_of=4).param == "best_of"
    assert refused(completion, suffix="x").param == "suffix"
    assert refused(completion, messages=HI).reason == "unknown_parameter"


def test_embeddings_take_texts_and_refuse_token_ids() -> None:
    asked = openai.decode_embeddings({"model": "m", "input": "a", "encoding_format": "base64", "user": "u"})
    assert (asked.texts, asked.base64) == (["a"], True)
    assert openai.decode_embeddings({"model": "m", "input": ["a", ""]}).texts == ["a", ""]
    for wrong in ([1, 2], [[1]], [], ["a"] * 2049, {"a": 1}, None, ["a", 1]):
        with pytest.raises(ParameterError) as refusal:
            openai.decode_embeddings({"model": "m", "input": wrong})
        assert refusal.value.param == "input"
    with pytest.raises(ParameterError, match="encoding_format"):
        openai.decode_embeddings({"model": "m", "input": "a", "encoding_format": "hex"})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": 1e999}', b"\xff{}", b'{"a":"\xff"}', b'{"a": "\\ud800"}', b"{}x",
     b'{"a":' * 5000, b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", b'{"a": ' + b"9" * 400 + b"}"],
)  # fmt: skip
def test_a_body_that_is_no_bounded_json_object_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(InvalidInputError, match="the body "):
        openai.read_document({}, body, max_bytes=1 << 20)


def test_a_body_may_repeat_a_key_and_may_be_compressed_within_the_limit() -> None:
    import gzip

    assert openai.read_document({}, b'{"a": 1, "a": 2}', max_bytes=100) == {"a": 2}
    packed = gzip.compress(b'{"a": 1}')
    assert openai.read_document({b"content-encoding": b"gzip"}, packed, max_bytes=100) == {"a": 1}
    with pytest.raises(TooLargeError):
        openai.read_document({b"content-encoding": b"gzip"}, gzip.compress(b" " * 5000), max_bytes=100)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [
        *(
            "model",
            "messages",
            "prompt",
            "input",
            "temperature",
            "stop",
            "seed",
            "n",
            "tools",
            "tool_choice",
            "logprobs",
        ),
        *("response_format", "stream", "stream_options", "logit_bias", "max_tokens", "metadata", "dimensions"),
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(_NAMES | st.text(max_size=8), _JSON, max_size=4))
def test_any_document_is_decoded_or_refused_and_what_is_decoded_can_be_sent_on(extra: dict[str, Any]) -> None:
    for decode, base in (
        (openai.decode_chat, {"model": "m", "messages": HI}),
        (openai.decode_completion, {"model": "m", "prompt": "p"}),
    ):
        try:
            document = openai.read_document({}, json.dumps({**base, **extra}).encode(), max_bytes=1 << 20)
            asked = decode(document)
        except InvalidInputError as error:
            json.loads(bytes(openai.render_error(error).chunks[0]))
        else:
            msgspec.json.encode(asked.generation.parameters)


# Answers


def events_of(data: bytes) -> list[Any]:
    """Server-sent events as a client reads them."""
    assert data.endswith(b"\n\n")
    lines = data.decode().split("\n\n")[:-1]
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_an_answer_is_put_together_from_its_pieces() -> None:
    answer = Answer(CHAT)
    answer.add(Piece([{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]))
    answer.add(Piece([{"index": 0, "delta": {"content": "Hel"}, "logprobs": {"content": [1]}}]))
    answer.add(Piece([{"index": 0, "delta": {"content": "lo"}, "logprobs": {"content": [2]}}]))
    answer.add(Piece([{"index": 0, "delta": {}, "finish_reason": "length"}], TokenCounts(5, 3, 2), final=True))
    assert json.loads(bytes(answer.encode().chunks[0])) == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gemma",
        "system_fingerprint": "fp_1",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": {"content": [1, 2]}, "finish_reason": "length",
        }],
        "usage": {
            "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }  # fmt: skip


def test_a_text_completion_has_text_instead_of_a_message() -> None:
    answer = Answer(TEXT)
    answer.add(Piece([{"index": 0, "text": "a "}]))
    answer.add(Piece([{"index": 0, "text": "time", "finish_reason": "stop"}], TokenCounts(1, 0, 2), final=True))
    document = answer.document()
    assert document["object"] == "text_completion"
    assert document["choices"] == [{"index": 0, "text": "a time", "logprobs": None, "finish_reason": "stop"}]


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """`text` in pieces, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(st.data())
def test_choices_and_tool_calls_that_arrive_interleaved_come_out_whole(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=20), min_size=1, max_size=3))
    calls = data.draw(st.lists(st.text(max_size=20), max_size=2))
    steps = [
        [{"index": index, "delta": {"content": part}} for part in data.draw(cut(text))]
        for index, text in enumerate(texts)
    ]
    for number, arguments in enumerate(calls):
        begun = {"index": number, "id": f"c{number}", "function": {"name": f"f{number}", "arguments": ""}}
        more = [{"index": number, "function": {"arguments": part}} for part in data.draw(cut(arguments))]
        steps.append([{"index": 0, "delta": {"tool_calls": [part]}} for part in [begun, *more]])
    pieces = []
    while any(steps):
        pieces.append(Piece([data.draw(st.sampled_from([each for each in steps if each])).pop(0)]))
    pieces.append(Piece([{"index": i, "delta": {}, "finish_reason": "stop"} for i in range(len(texts))], final=True))
    answer = Answer(CHAT)
    for piece in pieces:
        answer.add(piece)
    choices = answer.document()["choices"]
    for index, text in enumerate(texts):
        assert (choices[index]["message"]["content"] or "") == text
    got = choices[0]["message"].get("tool_calls", [])
    assert got == [
        {"id": f"c{number}", "type": "function", "function": {"name": f"f{number}", "arguments": arguments}}
        for number, arguments in enumerate(calls)
    ]
    # The same, as a client puts the events together.
    events = Events(CHAT, include_usage=False)
    streamed = events_of(b"".join(map(events.piece, pieces)))
    deltas = [choice["delta"] for event in streamed for choice in event["choices"] if choice["index"] == 0]
    assert "".join(delta.get("content") or "" for delta in deltas) == texts[0]


def test_the_first_event_of_each_choice_brings_the_role_and_the_last_the_usage() -> None:
    events = Events(CHAT, include_usage=True)
    data = events.piece(Piece([{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]))
    data += events.piece(Piece([{"index": 0, "delta": {"content": "c"}}]))
    data += events.piece(Piece([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    data += events.piece(Piece([], final=True)) + events.end(TokenCounts(3, 0, 2))
    first, second, third, last, done = events_of(data)
    assert first["object"] == "chat.completion.chunk"
    assert [choice["delta"] for choice in first["choices"]] == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    assert first["usage"] is None
    assert second["choices"] == [{"index": 0, "delta": {"content": "c"}, "logprobs": None, "finish_reason": None}]
    assert third["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 5
    assert {event["id"] for event in (first, second, third, last)} == {"chatcmpl-1"}
    assert done == "data: [DONE]"


def test_without_being_asked_no_event_speaks_of_usage() -> None:
    events = Events(TEXT, include_usage=False)
    only, done = events_of(events.piece(Piece([{"index": 0, "text": "x\ny"}])) + events.end(TokenCounts(1, 0, 1)))
    assert "usage" not in only
    assert only["object"] == "text_completion"
    assert only["choices"] == [{"index": 0, "text": "x\ny", "logprobs": None, "finish_reason": None}]
    assert done == "data: [DONE]"


def test_embeddings_are_numbers_or_little_endian_base64() -> None:
    array = np.array([[0.5, -1.25], [3, 4]], np.float32)
    for coding in ("float", "base64"):
        asked = openai.decode_embeddings({"model": "m", "input": ["a", "b"], "encoding_format": coding})
        document = json.loads(bytes(openai.encode_embeddings(asked, array, 7).chunks[0]))
        rows = [each["embedding"] for each in document["data"]]
        if coding == "base64":
            rows = [np.frombuffer(base64.b64decode(row), "<f4").tolist() for row in rows]
        assert rows == array.tolist()
        assert [each["index"] for each in document["data"]] == [0, 1]
        assert document["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


def test_a_model_embeds_if_its_signature_says_so_and_never_cuts_its_embeddings_short() -> None:
    text = TensorSpec("text", "BYTES", (-1,))
    embedding = TensorSpec("embedding", "FP32", (-1, 384))
    signature = Signature((text,), (embedding, TensorSpec("tokens", "INT32", (-1,))))
    assert openai.text_input(signature) == "text"
    assert openai.text_input(Signature((text, text), (embedding,))) is None
    assert openai.text_input(Signature((TensorSpec("x", "FP32", (-1, 4)),), (embedding,))) is None
    assert openai.text_input(Signature((text,), (TensorSpec("label", "BYTES", (-1,)),))) is None
    openai.check_dimensions(None, signature)
    openai.check_dimensions(384, signature)
    with pytest.raises(ParameterError, match="384"):
        openai.check_dimensions(256, signature)


# Errors and routes


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "retry"),
    [
        (InvalidInputError("x"), 400, "invalid_request_error", "invalid_input", b"false"),
        (ParameterError("x", "n"), 400, "invalid_request_error", "invalid_value", b"false"),
        (MissingKeyError("x"), 401, "authentication_error", "invalid_api_key", b"false"),
        (BudgetExhaustedError("x"), 429, "insufficient_quota", "insufficient_quota", b"false"),
        (ForbiddenError("x"), 403, "permission_error", "forbidden", b"false"),
        (NotFoundError("x"), 404, "not_found_error", "not_found", b"false"),
        (openai.UnknownModelError("x"), 404, "not_found_error", "model_not_found", b"false"),
        (TooLargeError("x"), 413, "invalid_request_error", "too_large", b"false"),
        (RateLimitedError("x"), 429, "rate_limit_error", "rate_limit_exceeded", b"true"),
        (ModelFailedError("x"), 500, "server_error", "model_failed", b"false"),
        (OverloadedError("x", retry_after=2.5), 503, "server_error", "overloaded", b"true"),
    ],
)
def test_every_refusal_is_an_error_object_of_the_right_kind(
    error: AirserveError, status: int, kind: str, code: str, retry: bytes
) -> None:
    encoded = openai.render_error(error)
    headers = dict(encoded.headers)
    assert encoded.status == status
    assert headers[b"x-should-retry"] == retry
    assert headers.get(b"retry-after") == (b"3" if error.retry_after else None)
    document = json.loads(bytes(encoded.chunks[0]))["error"]
    assert document.keys() == {"message", "type", "param", "code"}
    assert (document["message"], document["type"], document["code"]) == ("x", kind, code)
    assert events_of(openai.error_event(error)) == [{"error": document}]


def test_routes() -> None:
    assert openai.match("POST", "/v1/chat/completions").operation is Operation.CHAT
    assert openai.match("POST", "/v1/completions?x=1").operation is Operation.COMPLETION
    assert openai.match("POST", "/v1/embeddings").operation is Operation.EMBEDDINGS
    assert openai.match("GET", "/v1/models").operation is Operation.MODELS
    assert openai.match("GET", "/v1/models/a%40b").model == "a@b"
    with pytest.raises(MethodNotAllowedError):
        openai.match("GET", "/v1/chat/completions")
    for path in ("/v1", "/v1/", "/v1/models/", "/v1/files", "/v1/" + "x" * 3000):
        with pytest.raises(NotFoundError):
            openai.match("GET", path)
