"""A client that nobody here wrote: OpenAI's own, from PyPI, against real models."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from tests.conftest import Service
from tests.server.wire import Answer, send

pytestmark = pytest.mark.models

HELLO: Any = [{"role": "user", "content": "Say hello."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture
def client(large_service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{large_service.url}/v1", api_key=large_service.key, max_retries=0) as client:
        yield client


def new_key(service: Service, tenant: str, *models: str) -> str:
    """A new tenant's key for `models`, or for all, once the service knows it."""
    service.run("tenants", "create", tenant)
    key = str(service.run("keys", "create", tenant, *(["--models", ",".join(models)] if models else []))["key"])
    end = time.monotonic() + 10
    while send(service, "/v1/models", headers={"authorization": f"Bearer {key}"}).status != 200:
        assert time.monotonic() < end, "the service did not learn of a new key"
        time.sleep(0.05)
    return key


def post(service: Service, path: str, document: Any, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(service, path, body, headers={**service.headers, **named})


def said(stream: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


# Generating


def test_a_chat_is_answered_and_counted(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=8, temperature=0)
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == "gemma"
    assert reply.system_fingerprint is not None
    assert reply.system_fingerprint.startswith("fp_")
    assert abs(reply.created - time.time()) < 60
    (choice,) = reply.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8
    again = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=8, temperature=0)
    assert again.choices[0].message.content == choice.message.content
    assert again.usage is not None and again.usage.prompt_tokens_details is not None
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) > 0


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    asked: Any = {"model": "gemma", "messages": HELLO, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert said(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-2].choices[0].finish_reason == "length"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**asked, stream=True))


async def test_the_asynchronous_client_streams_too(large_service: Service) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{large_service.url}/v1", api_key=large_service.key, max_retries=0
    ) as client:
        stream = await client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=6, stream=True)
        texts = [chunk.choices[0].delta.content async for chunk in stream]
        assert "".join(text or "" for text in texts)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="gemma", messages=HELLO, temperature=9, stream=True)


def test_an_answer_ends_at_a_stop_string_and_may_have_to_fit_a_schema(client: openai.OpenAI) -> None:
    asked: Any = {"model": "gemma", "prompt": "one, two, three, four,", "temperature": 0, "max_tokens": 12}
    whole = client.completions.create(**asked).choices[0].text
    word = whole.split()[1]
    stopped = client.completions.create(**asked, stop=[word]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == whole.split(word)[0]
    formed = client.chat.completions.create(
        model="gemma",
        messages=HELLO,
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA}},
    )
    assert json.loads(formed.choices[0].message.content or "")["colour"] in ("red", "green")


def test_a_text_completion_whole_and_streamed(client: openai.OpenAI) -> None:
    asked: Any = {"model": "gemma", "prompt": "Once upon a time", "temperature": 0}
    whole = client.completions.create(**asked, logprobs=2)
    assert whole.id.startswith("cmpl-")
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 16
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None and logprobs.top_logprobs is not None
    assert "".join(logprobs.tokens) == whole.choices[0].text
    assert all(len(each) == 2 for each in logprobs.top_logprobs)
    chunks = client.completions.create(**asked, stream=True)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text


def test_several_choices_seeds_and_log_probabilities(client: openai.OpenAI) -> None:
    asked: Any = {"model": "gemma", "messages": HELLO, "max_tokens": 5}
    reply = client.chat.completions.create(**asked, n=2, temperature=1)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 10
    first, second = (client.chat.completions.create(**asked, seed=7).choices[0].message.content for _ in range(2))
    assert first == second
    choice = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 5
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)


def test_closing_a_stream_early_frees_its_slot(client: openai.OpenAI) -> None:
    for _ in range(12):
        stream = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=2000, stream=True)
        next(iter(stream))
        stream.close()
    # Twelve answers of minutes each would otherwise still hold the four slots.
    reply = client.chat.completions.create(model="gemma", messages=HELLO, max_tokens=3, timeout=120)
    assert reply.choices[0].message.content


# Embedding


def test_embeddings_tell_meanings_apart_as_numbers_and_as_base64(client: openai.OpenAI) -> None:
    texts = ["how do I pay my bill", "billing question", "the cat sat on the mat"]
    reply = client.embeddings.create(model="minilm", input=texts)
    assert [each.index for each in reply.data] == [0, 1, 2]
    rows = np.array([each.embedding for each in reply.data])
    assert rows.shape == (3, 384)
    assert rows[0] @ rows[1] > 0.4 > 0.2 > rows[0] @ rows[2]
    assert reply.usage.prompt_tokens > 12
    floats = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    np.testing.assert_allclose([each.embedding for each in floats.data], rows, atol=1e-6)
    one = client.embeddings.create(model="minilm", input=texts[0], dimensions=384)
    np.testing.assert_allclose(one.data[0].embedding, rows[0], atol=1e-5)


def test_more_texts_than_one_run_takes_come_back_in_order(client: openai.OpenAI) -> None:
    words = [f"word {number}" for number in range(150)]
    reply = client.embeddings.create(model="minilm", input=words)
    assert len(reply.data) == 150
    last = client.embeddings.create(model="minilm", input=words[-1])
    np.testing.assert_allclose(reply.data[-1].embedding, last.data[0].embedding, atol=1e-5)
    assert reply.usage.prompt_tokens >= 300


# Models and refusals


def test_models_are_those_that_the_key_opens(large_service: Service, client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert models.keys() == {"digits", "efficientnet", "gemma", "minilm"}
    assert models["gemma"].model_extra == {"capabilities": ["chat", "completions"]}
    assert client.models.retrieve("minilm").id == "minilm"
    assert client.models.retrieve("gemma@prod").id == "gemma@prod"
    limited = client.with_options(api_key=new_key(large_service, "limited", "minilm"))
    assert [model.id for model in limited.models.list()] == ["minilm"]
    with pytest.raises(openai.PermissionDeniedError, match="does not open"):
        limited.models.retrieve("gemma")
    with pytest.raises(openai.PermissionDeniedError, match="does not open"):
        limited.chat.completions.create(model="gemma", messages=HELLO)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_refusals_arrive_as_the_classes_of_the_package(large_service: Service, client: openai.OpenAI) -> None:
    chat: Any = client.chat.completions.create
    with pytest.raises(openai.AuthenticationError) as unauthenticated:
        client.with_options(api_key="nonsense").chat.completions.create(model="gemma", messages=HELLO)
    assert unauthenticated.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(api_key=large_service.ready["operator_key"]).embeddings.create(model="minilm", input="x")
    with pytest.raises(openai.NotFoundError) as unknown:
        chat(model="nobody", messages=HELLO, stream=True)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        chat(model="gemma", messages=HELLO, temperature=3)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="'thinking'"):
        chat(model="gemma", messages=HELLO, extra_body={"thinking": True})
    for model in ("minilm", "digits"):
        with pytest.raises(openai.BadRequestError, match="does not generate text"):
            chat(model=model, messages=HELLO)
    for model in ("gemma", "digits"):
        with pytest.raises(openai.BadRequestError, match="embeddings"):
            client.embeddings.create(model=model, input="x")
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model="minilm", input="x", dimensions=12)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_refused_before_the_stream_begins(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError, match="context") as refusal:
        client.chat.completions.create(
            model="gemma", messages=[{"role": "user", "content": "word " * 30_000}], stream=stream
        )
    assert refusal.value.code == "context_length_exceeded"


def begun_with_a_deadline(client: openai.OpenAI) -> Any:
    """A stream of minutes that began, with the shortest deadline that leaves time for its first token."""
    for seconds in (1, 2, 4, 8, 16, 32):
        try:
            return client.chat.completions.create(
                model="gemma",
                messages=HELLO,
                max_tokens=3000,
                stream=True,
                logit_bias={"1": -100, "106": -100},
                extra_headers={"airserve-timeout-ms": str(seconds * 1000)},
            )
        except openai.InternalServerError as late:
            assert late.code == "deadline_exceeded"
    raise AssertionError("no token came within half a minute")


def test_a_deadline_in_the_middle_of_a_stream_is_told_in_the_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="not finished in time") as late:
        said(begun_with_a_deadline(client))
    assert late.value.code == "deadline_exceeded"
    assert not isinstance(late.value, openai.APIStatusError)


def test_every_reply_names_its_request_and_its_time(large_service: Service) -> None:
    good = post(large_service, "/v1/embeddings", {"model": "minilm", "input": "x"}, x_request_id="mine")
    bad = post(large_service, "/v1/embeddings", {"model": "minilm"}, x_request_id="mine")
    assert (good.status, bad.status) == (200, 400)
    for answer in (good, bad):
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers["openai-processing-ms"].isdigit()
    assert "compute;dur=" in good.headers["server-timing"]
    assert json.loads(bad.body)["error"]["param"] == "input"


def test_wrong_methods_paths_and_bodies_are_error_objects(large_service: Service) -> None:
    wrong = send(large_service, "/v1/chat/completions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    for answer, status in (
        (wrong, 405),
        (send(large_service, "/v1/nothing"), 404),
        (post(large_service, "/v1/chat/completions", b"{"), 400),
        (post(large_service, "/v1/chat/completions", b"[" * 100_000), 400),
        (post(large_service, "/v1/embeddings", b"x", content_encoding="br"), 415),
    ):
        assert answer.status == status
        assert json.loads(answer.body)["error"].keys() == {"message", "type", "param", "code"}


def test_what_was_generated_is_on_the_bill_and_what_was_refused_is_not(
    large_service: Service, client: openai.OpenAI
) -> None:
    mine = client.with_options(api_key=new_key(large_service, "counted"))
    reply = mine.chat.completions.create(model="gemma", messages=HELLO, max_tokens=4)
    with pytest.raises(openai.BadRequestError):
        mine.chat.completions.create(model="gemma", messages=HELLO, max_tokens=0)
    (row,) = large_service.run("usage", "--tenant", "counted")
    assert reply.usage is not None
    assert (row["calls"], row["ok"]) == (1, 1)
    assert row["output_tokens"] == reply.usage.completion_tokens == 4
    assert row["input_tokens"] + row["cached_tokens"] >= reply.usage.prompt_tokens
